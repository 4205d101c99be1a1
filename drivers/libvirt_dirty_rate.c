#include <config.h>

#include "drivers/libvirt_internal.h"

#include <libvirt/virterror.h>

static void read_params(const virDomainStatsRecord *record,
                        struct dirty_rate *ret);

/* QEMU samples pages of the guest: that costs it next to nothing, and needs no
 * dirty log, which is left to migrations. */
struct error *
libvirt_dirty_rate_start(void *state, const char *uuid, unsigned seconds)
{
    AUTO_DOMAIN domain = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (!error && virDomainStartDirtyRateCalc(
                      domain, (int)seconds,
                      VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING) < 0) {
        int code = virGetLastErrorCode();

        error = libvirt_error(code == VIR_ERR_NO_SUPPORT ||
                                      code == VIR_ERR_CONFIG_UNSUPPORTED
                                  ? ERR_NOT_IMPLEMENTED
                                  : ERR_INTERNAL,
                              uuid);
    }
    return error_wrap(error, "measure what '%s' writes", uuid);
}

struct error *
libvirt_dirty_rate_get(void *state, const char *uuid, struct dirty_rate *ret)
{
    AUTO_DOMAIN domain = NULL;
    virDomainStatsRecordPtr *records = NULL;
    struct error *error = libvirt_guest_find(state, uuid, &domain);

    if (error) {
        return error;
    }
    virDomainPtr domains[] = {domain, NULL};
    int n = virDomainListGetStats(domains, VIR_DOMAIN_STATS_DIRTYRATE, &records,
                                  VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);
    if (n < 0) {
        return error_wrap(libvirt_error(ERR_INTERNAL, uuid),
                          "ask what '%s' writes", uuid);
    }
    *ret = (struct dirty_rate){.state = DIRTY_RATE_NONE};
    if (n > 0) {
        read_params(records[0], ret);
    }
    virDomainStatsRecordListFree(records);
    return NULL;
}

static void
read_params(const virDomainStatsRecord *record, struct dirty_rate *ret)
{
    int status = VIR_DOMAIN_DIRTYRATE_UNSTARTED, period_s = 0;
    long long mib_s = -1;

    virTypedParamsGetInt(record->params, record->nparams,
                         "dirtyrate.calc_status", &status);
    virTypedParamsGetInt(record->params, record->nparams,
                         "dirtyrate.calc_period", &period_s);
    virTypedParamsGetLLong(record->params, record->nparams,
                           "dirtyrate.megabytes_per_second", &mib_s);
    if (status == VIR_DOMAIN_DIRTYRATE_MEASURING) {
        ret->state = DIRTY_RATE_MEASURING;
    } else if (status == VIR_DOMAIN_DIRTYRATE_MEASURED && mib_s >= 0 &&
               mib_s <= INT64_MAX >> 20) {
        ret->state = DIRTY_RATE_MEASURED;
        ret->period_s = period_s > 0 ? (unsigned)period_s : 0;
        ret->bytes_per_s = (int64_t)mib_s << 20;
    }
}
