#include <config.h>

#include "agent/nova/connector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/base/worker.h"

#define LINE_SIZE 512

struct job {
    struct agent *agent;
    struct json *connector;
    connector_done *done;
    void *aux;
};

/* The rest of the first line that begins with 'prefix'; the caller's, null:
 * there is none. */
static char *
line_of(const char *root, const char *path, const char *prefix)
{
    AUTO_FREE whole = xasprintf("%s%s", root, path);
    FILE *file = fopen(whole, "re");
    char line[LINE_SIZE];
    char *found = NULL;

    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, " \t\r\n")] = '\0';
        if (*line && strncmp(line, prefix, strlen(prefix)) == 0) {
            found = xstrdup(line + strlen(prefix));
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

struct json *
connector_read(const struct conf *conf, const char *root)
{
    struct json *connector = json_object();
    struct utsname name;
    AUTO_FREE initiator =
        line_of(root, "/etc/iscsi/initiatorname.iscsi", "InitiatorName=");
    AUTO_FREE nqn = line_of(root, "/etc/nvme/hostnqn", "");

    json_set_string(connector, "platform",
                    uname(&name) == 0 ? name.machine : "");
    json_set_string(connector, "os_type", "linux");
    json_set_string(connector, "ip", conf->my_block_storage_ip);
    json_set_string(connector, "host", conf->host);
    /* Of several paths one is used, whatever is configured. */
    json_set_bool(connector, "multipath", false);
    json_set_bool(connector, "do_local_attach", false);
    if (initiator) {
        json_set_string(connector, "initiator", initiator);
    }
    if (nqn) {
        json_set_string(connector, "nqn", nqn);
    }
    return connector;
}

static void
read_files(void *aux)
{
    struct job *job = aux;

    job->connector = connector_read(job->agent->conf, job->agent->host.root);
}

static void
files_read(void *aux)
{
    struct job *job = aux;

    job->done(job->aux, steal(&job->connector));
    free(job);
}

void
connector_get(struct agent *agent, connector_done *done, void *aux)
{
    struct job *job = xzalloc(sizeof *job);

    job->agent = agent;
    job->done = done;
    job->aux = aux;
    worker_submit(agent->attach_workers, read_files, files_read, job);
}
