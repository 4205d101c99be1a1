#include <config.h>

#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/mem.h"

/* Stands in for libFuzzer: gives each file that is named, or is in a directory
 * that is named, to the target once.  A crash is the failure. */

static int replay(const char *path);
static int replay_directory(const char *path);
static int replay_file(const char *path);

int
main(int argc, char *argv[])
{
    int n_files = 0;

    for (int i = 1; i < argc; i++) {
        int n = replay(argv[i]);
        if (n < 0) {
            perror(argv[i]);
            return 1;
        }
        n_files += n;
    }
    printf("%d inputs\n", n_files);
    return n_files > 0 ? 0 : 1;
}

/* How many files there were; -1 and errno if one cannot be read. */
static int
replay(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        return -1;
    }
    return S_ISDIR(st.st_mode) ? replay_directory(path) : replay_file(path);
}

static int
replay_directory(const char *path)
{
    DIR *dir = opendir(path);
    int n_files = 0;

    if (!dir) {
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(dir)) && n_files >= 0;) {
        if (entry->d_name[0] != '.') {
            AUTO_FREE name = xasprintf("%s/%s", path, entry->d_name);
            int n = replay(name);
            n_files = n < 0 ? -1 : n_files + n;
        }
    }
    closedir(dir);
    return n_files;
}

static int
replay_file(const char *path)
{
    FILE *in = fopen(path, "rb");
    size_t room = 0, size = 0;
    AUTO_FREE data = NULL;

    if (!in) {
        return -1;
    }
    do {
        if (size == room) {
            data = xgrow(data, &room, 1);
        }
        size += fread(data + size, 1, room - size, in);
    } while (!feof(in) && !ferror(in));
    fclose(in);

    /* Exactly so large, so that reading on is seen by the sanitizer. */
    AUTO_FREE exact = xmemdup(data, size);
    puts(path); /* The last one that is named is the culprit. */
    fflush(stdout);
    LLVMFuzzerTestOneInput((const uint8_t *)exact, size);
    return 1;
}
