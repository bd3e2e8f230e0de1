/* A plugin made for a later version, which registers something before that comes out. */
#include <rlhf/rlhf.h>

RLHF_API rlhf_status rlhf_plugin_register(rlhf_plugin_host *host);

static rlhf_status make(void *user_data, rlhf_context *context, const char *argument, rlhf_scorer **out)
{
    (void)user_data, (void)context, (void)argument, (void)out;
    return RLHF_E_USER_FIRST;
}

rlhf_status rlhf_plugin_register(rlhf_plugin_host *host)
{
    host->plugin_version = host->library_version + 0x100;
    return rlhf_plugin_add_scorer(host->context, "tomorrow", make, NULL, NULL);
}
