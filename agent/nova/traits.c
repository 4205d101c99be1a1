#include <config.h>

#include "agent/nova/traits.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct judge {
    const struct node_settings *settings;
    const struct host_resources *host;
    struct text_set is, is_not; /* The managed ones. */
};

static void judge_capabilities(struct judge *j);
static void judge_cpu(struct judge *j);
static bool has_feature(const struct judge *j, const char *feature);
static void judge_devices(struct judge *j);
static void judge_interfaces(struct judge *j);
static void judge_iommu(struct judge *j);
static void judge(struct judge *j, const char *trait, bool is_true);
static void judge_name(struct judge *j, const char *prefix, const char *name,
                       bool is_true);
static bool is_qemu(const struct node_settings *settings);

void
traits_wanted(const struct node_settings *settings,
              const struct host_resources *host, bool is_disabled,
              const struct text_set *current, struct text_set *ret)
{
    struct judge j = {.settings = settings, .host = host};

    judge_capabilities(&j);
    judge_cpu(&j);
    judge_devices(&j);
    judge_interfaces(&j);
    judge_iommu(&j);
    judge(&j, TRAIT_DISABLED, is_disabled);
    for (size_t i = 0; i < current->n; i++) {
        if (!text_set_has(&j.is_not, current->texts[i])) {
            text_set_add(ret, current->texts[i]);
        }
    }
    for (size_t i = 0; i < j.is.n; i++) {
        text_set_add(ret, j.is.texts[i]);
    }
    text_set_close(&j.is);
    text_set_close(&j.is_not);
}

void
traits_missing(const struct text_set *from, const struct text_set *in,
               struct text_set *ret)
{
    for (size_t i = 0; i < from->n; i++) {
        if (!text_set_has(in, from->texts[i])) {
            text_set_add(ret, from->texts[i]);
        }
    }
}

bool
traits_same(const struct text_set *a, const struct text_set *b)
{
    CLEANUP(text_set_close) struct text_set missing = {0};

    traits_missing(a, b, &missing);
    traits_missing(b, a, &missing);
    return missing.n == 0;
}

char *
traits_format(const struct text_set *traits)
{
    AUTO_FREE all = xstrdup("");

    for (size_t i = 0; i < traits->n; i++) {
        char *more = xasprintf("%s%s%s", all, i ? ", " : "", traits->texts[i]);
        free(all);
        all = more;
    }
    return steal(&all);
}

/* What Nova's libvirt driver says of itself, and whether this agent can say the
 * same.  An image type is offered as guests from such images can be moved here
 * and run. */
static void
judge_capabilities(struct judge *j)
{
    static const struct {
        const char *trait;
        bool is_offered;
    } rows[] = {
        {"COMPUTE_NODE", true},
        {"COMPUTE_IMAGE_TYPE_AKI", true},
        {"COMPUTE_IMAGE_TYPE_AMI", true},
        {"COMPUTE_IMAGE_TYPE_ARI", true},
        {"COMPUTE_IMAGE_TYPE_ISO", true},
        {"COMPUTE_IMAGE_TYPE_RAW", true},
        /* Volumes of guests that come are connected wherever else they are. */
        {"COMPUTE_VOLUME_MULTI_ATTACH", true},
        /* Nothing is attached to, or changed at, a guest that is here. */
        {"COMPUTE_NET_ATTACH_INTERFACE", false},
        {"COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG", false},
        {"COMPUTE_VOLUME_ATTACH_WITH_TAG", false},
        {"COMPUTE_VOLUME_EXTEND", false},
        {"COMPUTE_RESCUE_BFV", false},
        /* Nothing is built here. */
        {"COMPUTE_ACCELERATORS", false},
        {"COMPUTE_DEVICE_TAGGING", false},
        {"COMPUTE_TRUSTED_CERTS", false},
        /* No PCI devices are given to guests. */
        {"COMPUTE_SOCKET_PCI_NUMA_AFFINITY", false},
        {"COMPUTE_REMOTE_MANAGED_PORTS", false},
        /* Not offered by Nova either. */
        {"COMPUTE_SAME_HOST_COLD_MIGRATE", false},
        {"COMPUTE_IMAGE_TYPE_PLOOP", false},
    };
    bool has_swtpm = j->settings->has_swtpm;

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        judge(j, rows[i].trait, rows[i].is_offered);
    }
    judge(j, "COMPUTE_IMAGE_TYPE_QCOW2", !j->settings->has_raw_images_only);
    judge(j, "COMPUTE_SECURITY_UEFI_SECURE_BOOT", j->host->has_secure_boot);
    judge(j, "COMPUTE_SECURITY_TPM_1_2", has_swtpm);
    judge(j, "COMPUTE_SECURITY_TPM_2_0", has_swtpm);
}

static const struct {
    const char *feature, *trait;
} cpu_traits[] = {
    {"3dnow", "HW_CPU_X86_3DNOW"},
    {"abm", "HW_CPU_X86_ABM"},
    {"aes", "HW_CPU_X86_AESNI"},
    {"avx", "HW_CPU_X86_AVX"},
    {"avx2", "HW_CPU_X86_AVX2"},
    {"avx512bw", "HW_CPU_X86_AVX512BW"},
    {"avx512cd", "HW_CPU_X86_AVX512CD"},
    {"avx512dq", "HW_CPU_X86_AVX512DQ"},
    {"avx512er", "HW_CPU_X86_AVX512ER"},
    {"avx512f", "HW_CPU_X86_AVX512F"},
    {"avx512pf", "HW_CPU_X86_AVX512PF"},
    {"avx512vl", "HW_CPU_X86_AVX512VL"},
    {"avx512vnni", "HW_CPU_X86_AVX512VNNI"},
    {"avx512vbmi", "HW_CPU_X86_AVX512VBMI"},
    {"avx512ifma", "HW_CPU_X86_AVX512IFMA"},
    {"avx512vbmi2", "HW_CPU_X86_AVX512VBMI2"},
    {"avx512bitalg", "HW_CPU_X86_AVX512BITALG"},
    {"vaes", "HW_CPU_X86_AVX512VAES"},
    {"gfni", "HW_CPU_X86_AVX512GFNI"},
    {"vpclmulqdq", "HW_CPU_X86_AVX512VPCLMULQDQ"},
    {"avx512-vpopcntdq", "HW_CPU_X86_AVX512VPOPCNTDQ"},
    {"bmi1", "HW_CPU_X86_BMI"},
    {"bmi2", "HW_CPU_X86_BMI2"},
    {"pclmuldq", "HW_CPU_X86_CLMUL"},
    {"f16c", "HW_CPU_X86_F16C"},
    {"fma", "HW_CPU_X86_FMA3"},
    {"fma4", "HW_CPU_X86_FMA4"},
    {"mmx", "HW_CPU_X86_MMX"},
    {"mpx", "HW_CPU_X86_MPX"},
    {"sha-ni", "HW_CPU_X86_SHA"},
    {"sse", "HW_CPU_X86_SSE"},
    {"sse2", "HW_CPU_X86_SSE2"},
    {"sse3", "HW_CPU_X86_SSE3"},
    {"sse4.1", "HW_CPU_X86_SSE41"},
    {"sse4.2", "HW_CPU_X86_SSE42"},
    {"sse4a", "HW_CPU_X86_SSE4A"},
    {"ssse3", "HW_CPU_X86_SSSE3"},
    {"svm", "HW_CPU_X86_SVM"},
    {"svm", "HW_CPU_X86_AMD_SVM"},
    {"tbm", "HW_CPU_X86_TBM"},
    {"vmx", "HW_CPU_X86_VMX"},
    {"vmx", "HW_CPU_X86_INTEL_VMX"},
    {"xop", "HW_CPU_X86_XOP"},
};

static void
judge_cpu(struct judge *j)
{
    const char *mode = j->settings->cpu_mode;
    bool has_threads = false;

    for (size_t i = 0; i < j->host->n_cells; i++) {
        const struct host_cell *cell = &j->host->cells[i];
        for (size_t k = 0; k < cell->n_siblings; k++) {
            has_threads |= cell->siblings[k].n > 1;
        }
    }
    judge(j, "HW_CPU_HYPERTHREADING", has_threads);
    judge(j, "HW_CPU_X86_AMD_SEV", j->host->has_sev);
    if (!is_qemu(j->settings) && (!mode || str_eq(mode, "none"))) {
        return; /* Nobody knows what CPU guests have. */
    }
    for (size_t i = 0; i < N_ELEMENTS(cpu_traits); i++) {
        judge(j, cpu_traits[i].trait, has_feature(j, cpu_traits[i].feature));
    }
}

/* "-avx" of the operator's takes one away from guests, "+avx" or "avx" gives
 * one; guests of the usual model get neither. */
static bool
has_feature(const struct judge *j, const char *feature)
{
    const char *mode = j->settings->cpu_mode;
    bool is_usual = str_eq(mode, "none");
    bool is_model = is_usual || str_eq(mode, "custom");

    for (const char *const *flag = j->settings->cpu_flags;
         !is_usual && flag && *flag; flag++) {
        bool is_signed = **flag == '-' || **flag == '+';
        if (strcasecmp(*flag + is_signed, feature) == 0) {
            return **flag != '-';
        }
    }
    return text_set_has(is_model ? &j->host->guest_cpu_features
                                 : &j->host->cpu_features,
                        feature);
}

static void
judge_devices(struct judge *j)
{
    static const char *const buses[] = {"virtio", "scsi", "ide", "usb", "fdc",
                                        "sata",   "lxc",  "xen", "uml"};
    static const char *const models[] = {"cirrus", "qxl",  "vga",
                                         "vmvga",  "xen",  "virtio",
                                         "gop",    "none", "bochs"};

    for (size_t i = 0; i < N_ELEMENTS(buses); i++) {
        judge_name(j, "COMPUTE_STORAGE_BUS_", buses[i],
                   text_set_has(&j->host->disk_buses, buses[i]));
    }
    for (size_t i = 0; i < N_ELEMENTS(models); i++) {
        judge_name(j, "COMPUTE_GRAPHICS_MODEL_", models[i],
                   text_set_has(&j->host->video_models, models[i]));
    }
}

/* The hypervisor does not tell; Nova goes by its type. */
static void
judge_interfaces(struct judge *j)
{
    static const struct {
        const char *model;
        bool qemu, kvm, parallels;
    } rows[] = {
        {"virtio", true, true, true},    {"ne2k_pci", true, true, false},
        {"pcnet", true, true, false},    {"rtl8139", true, true, true},
        {"e1000", true, true, true},     {"e1000e", true, true, false},
        {"lan9118", true, false, false}, {"spapr-vlan", true, true, false},
        {"vmxnet3", true, true, false},
    };
    const char *type = j->settings->virt_type;

    for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
        judge_name(j, "COMPUTE_NET_VIF_MODEL_", rows[i].model,
                   (rows[i].qemu && str_eq(type, "qemu")) ||
                       (rows[i].kvm && str_eq(type, "kvm")) ||
                       (rows[i].parallels && str_eq(type, "parallels")));
    }
}

static void
judge_iommu(struct judge *j)
{
    const struct text_set *archs = &j->host->guest_archs;

    judge(j, "COMPUTE_VIOMMU_MODEL_AUTO", true);
    judge(j, "COMPUTE_VIOMMU_MODEL_INTEL", text_set_has(archs, "x86_64"));
    judge(j, "COMPUTE_VIOMMU_MODEL_SMMUV3", text_set_has(archs, "aarch64"));
    judge(j, "COMPUTE_VIOMMU_MODEL_VIRTIO",
          j->host->libvirt_version >= 8003000);
}

static void
judge(struct judge *j, const char *trait, bool is_true)
{
    text_set_add(is_true ? &j->is : &j->is_not, trait);
}

static void
judge_name(struct judge *j, const char *prefix, const char *name, bool is_true)
{
    AUTO_FREE trait = xasprintf("%s%s", prefix, name);

    for (char *c = trait; *c; c++) {
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
    judge(j, trait, is_true);
}

static bool
is_qemu(const struct node_settings *settings)
{
    return str_eq(settings->virt_type, "kvm") ||
           str_eq(settings->virt_type, "qemu");
}
