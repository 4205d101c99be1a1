#include <config.h>

#include "agent/nova/traits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <libxml/parser.h>

#include "tests/unit/resources_fixture.h"

/* What Nova's agent offers and this one does not: nothing is built here, and
 * nothing is attached to, or changed at, a guest. */
static const char *const not_offered[] = {
    "COMPUTE_ACCELERATORS",         "COMPUTE_DEVICE_TAGGING",
    "COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG",
    "COMPUTE_RESCUE_BFV",           "COMPUTE_SOCKET_PCI_NUMA_AFFINITY",
    "COMPUTE_TRUSTED_CERTS",        "COMPUTE_VOLUME_ATTACH_WITH_TAG",
    "COMPUTE_VOLUME_EXTEND",
};

static void
add_all(const struct json *names, struct text_set *ret)
{
    json_for_each (name, names) {
        text_set_add(ret, json_get_string(name));
    }
}

static void
assert_same_but_not_offered(const struct text_set *ours,
                            const struct text_set *novas)
{
    CLEANUP(text_set_close) struct text_set more = {0};
    CLEANUP(text_set_close) struct text_set less = {0};
    CLEANUP(text_set_close) struct text_set known = {0};

    traits_missing(ours, novas, &more);
    traits_missing(novas, ours, &less);
    AUTO_FREE more_text = traits_format(&more);
    assert_string_equal(more_text, "");
    for (size_t i = 0; i < N_ELEMENTS(not_offered); i++) {
        text_set_add(&known, not_offered[i]);
    }
    if (!traits_same(&less, &known)) {
        AUTO_FREE less_text = traits_format(&less);
        fail_msg("not offered: %s", less_text);
    }
}

static void
test_traits_are_those_that_nova_finds(UNUSED void **state)
{
    CLEANUP(host_resources_free_at)
    struct host_resources *host = resources_host();
    AUTO_JSON facts = resources_json("nova-facts.json");
    CLEANUP(text_set_close) struct text_set ours = {0};
    CLEANUP(text_set_close) struct text_set novas = {0};
    CLEANUP(text_set_close) struct text_set nothing = {0};

    add_all(json_get(facts, "traits"), &novas);
    traits_wanted(&resources_settings, host, false, &nothing, &ours);
    assert_same_but_not_offered(&ours, &novas);
}

/* All that Nova would take away again, and no more. */
static void
test_managed_traits_are_those_of_nova(UNUSED void **state)
{
    CLEANUP(host_resources_free_at)
    struct host_resources *host = resources_host();
    AUTO_JSON facts = resources_json("nova-facts.json");
    CLEANUP(text_set_close) struct text_set all = {0};
    CLEANUP(text_set_close) struct text_set ours = {0};
    CLEANUP(text_set_close) struct text_set kept = {0};
    CLEANUP(text_set_close) struct text_set nothing = {0};

    add_all(json_get(facts, "managed"), &all);
    text_set_add(&all, "CUSTOM_RED");
    text_set_add(&all, "HW_NIC_SRIOV");
    traits_wanted(&resources_settings, host, false, &nothing, &ours);
    traits_wanted(&resources_settings, host, false, &all, &kept);
    text_set_add(&ours, "CUSTOM_RED");
    text_set_add(&ours, "HW_NIC_SRIOV");
    assert_true(traits_same(&ours, &kept));
}

/* As one was recorded that gave guests the usual CPU. */
static void
test_traits_of_the_usual_cpu(UNUSED void **state)
{
    static const char *const features[] = {"mmx", "sse", "sse2", "svm", "fpu"};
    CLEANUP(host_resources_free_at)
    struct host_resources *host = resources_host();
    AUTO_JSON body = resources_json("captured-traits.json");
    struct node_settings settings = resources_settings;
    CLEANUP(text_set_close) struct text_set ours = {0};
    CLEANUP(text_set_close) struct text_set novas = {0};
    CLEANUP(text_set_close) struct text_set nothing = {0};

    settings.cpu_mode = "none";
    for (size_t i = 0; i < N_ELEMENTS(features); i++) {
        text_set_add(&host->guest_cpu_features, features[i]);
    }
    add_all(json_get(body, "traits"), &novas);
    traits_wanted(&settings, host, false, &nothing, &ours);
    assert_same_but_not_offered(&ours, &novas);
}

static void
assert_trait(const struct node_settings *settings, bool is_disabled,
             const char *trait, bool expected)
{
    CLEANUP(host_resources_free_at)
    struct host_resources *host = resources_host();
    CLEANUP(text_set_close) struct text_set ours = {0};
    CLEANUP(text_set_close) struct text_set current = {0};

    text_set_add(&current, trait);
    traits_wanted(settings, host, is_disabled, &current, &ours);
    if (text_set_has(&ours, trait) != expected) {
        fail_msg("%s is %s", trait, expected ? "missing" : "there");
    }
}

static void
test_traits_follow_the_settings(UNUSED void **state)
{
    static const char *const flags[] = {"-AVX", "+pdpe1gb", "3dnow", NULL};
    struct node_settings s = resources_settings;

    assert_trait(&s, true, TRAIT_DISABLED, true);
    assert_trait(&s, false, TRAIT_DISABLED, false);
    assert_trait(&s, false, "HW_CPU_X86_AVX", true);
    assert_trait(&s, false, "HW_CPU_HYPERTHREADING", false);
    assert_trait(&s, false, "COMPUTE_NET_VIF_MODEL_LAN9118", true);
    assert_trait(&s, false, "COMPUTE_SECURITY_TPM_2_0", false);
    s.cpu_flags = flags;
    assert_trait(&s, false, "HW_CPU_X86_AVX", false);
    assert_trait(&s, false, "HW_CPU_X86_3DNOW", true);
    s.cpu_mode = "custom"; /* Of models that have nothing. */
    assert_trait(&s, false, "HW_CPU_X86_AVX2", false);
    assert_trait(&s, false, "HW_CPU_X86_3DNOW", true);
    s.virt_type = "kvm";
    assert_trait(&s, false, "COMPUTE_NET_VIF_MODEL_LAN9118", false);
    assert_trait(&s, false, "COMPUTE_NET_VIF_MODEL_SPAPR_VLAN", true);
    s.has_swtpm = true;
    assert_trait(&s, false, "COMPUTE_SECURITY_TPM_2_0", true);
    s.has_raw_images_only = true;
    assert_trait(&s, false, "COMPUTE_IMAGE_TYPE_QCOW2", false);
    assert_trait(&s, false, "COMPUTE_IMAGE_TYPE_RAW", true);
}

static void
test_threads_and_old_libvirt(UNUSED void **state)
{
    CLEANUP(host_resources_free_at)
    struct host_resources *host = resources_host();
    CLEANUP(text_set_close) struct text_set ours = {0};
    CLEANUP(text_set_close) struct text_set nothing = {0};

    cpu_set_add(&host->cells[0].siblings[0], 7);
    host->libvirt_version = 8002999;
    host->has_secure_boot = false;
    host->has_sev = true;
    traits_wanted(&resources_settings, host, false, &nothing, &ours);
    assert_true(text_set_has(&ours, "HW_CPU_HYPERTHREADING"));
    assert_true(text_set_has(&ours, "HW_CPU_X86_AMD_SEV"));
    assert_false(text_set_has(&ours, "COMPUTE_VIOMMU_MODEL_VIRTIO"));
    assert_false(text_set_has(&ours, "COMPUTE_SECURITY_UEFI_SECURE_BOOT"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traits_are_those_that_nova_finds),
        cmocka_unit_test(test_managed_traits_are_those_of_nova),
        cmocka_unit_test(test_traits_of_the_usual_cpu),
        cmocka_unit_test(test_traits_follow_the_settings),
        cmocka_unit_test(test_threads_and_old_libvirt),
    };

    xmlInitParser();
    json_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
