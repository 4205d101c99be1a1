#ifndef DROVER_TESTS_HOST_RECORDER_H
#define DROVER_TESTS_HOST_RECORDER_H

/* A host whose programs are written down and not run, and whose devices are
 * files in a directory of the test.
 *
 * What a program changes is done by the test, in 'react', which is told the
 * line of each and says how it ends. */

#include "drivers/host.h"

struct host_recorder {
    struct host host;
    char directory[64];
    char *claims, *mounts;
    char *lines;       /* What was run, one line each; never null. */
    unsigned waited_s; /* In all. */
    /* Null: everything succeeds.  The words of a failure go to '*ret_words',
     * which has a text. */
    int (*react)(struct host_recorder *recorder, const char *line,
                 const char **ret_words);
    void *aux;
};

void host_recorder_open(struct host_recorder *recorder);
void host_recorder_close(struct host_recorder *recorder);

/* Below the directory, with all directories that it needs. */
void host_recorder_put(struct host_recorder *recorder, const char *path,
                       const char *text);
void host_recorder_link(struct host_recorder *recorder, const char *path,
                        const char *target); /* Of the directory, too. */
void host_recorder_remove(struct host_recorder *recorder, const char *path);
char *host_recorder_text(struct host_recorder *recorder, const char *path);

/* And forgets them. */
void assert_ran(struct host_recorder *recorder, const char *lines);

#endif
