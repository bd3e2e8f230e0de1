/* A plugin that does not say which version it was made for. */
#include <rlhf/rlhf.h>

RLHF_API rlhf_status rlhf_plugin_register(rlhf_plugin_host *host);

rlhf_status rlhf_plugin_register(rlhf_plugin_host *host)
{
    return host->context != NULL ? RLHF_OK : RLHF_E_INVAL;
}
