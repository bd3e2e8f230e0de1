/* Names and numbers that need no context. */
#include <rlhf/base.h>

const char *rlhf_status_name(rlhf_status status)
{
    switch (status) {
    case RLHF_OK: return "RLHF_OK";
    case RLHF_E_INVAL: return "RLHF_E_INVAL";
    case RLHF_E_NOMEM: return "RLHF_E_NOMEM";
    case RLHF_E_IO: return "RLHF_E_IO";
    case RLHF_E_FORMAT: return "RLHF_E_FORMAT";
    case RLHF_E_RANGE: return "RLHF_E_RANGE";
    case RLHF_E_NONFINITE: return "RLHF_E_NONFINITE";
    case RLHF_E_CANCELED: return "RLHF_E_CANCELED";
    case RLHF_E_FORKED: return "RLHF_E_FORKED";
    case RLHF_E_UNSUPPORTED: return "RLHF_E_UNSUPPORTED";
    case RLHF_E_BUSY: return "RLHF_E_BUSY";
    case RLHF_E_END: return "RLHF_E_END";
    default: return status <= RLHF_E_USER_FIRST ? "user code" : "unknown status";
    }
}

uint32_t rlhf_version(void)
{
    return RLHF_API_VERSION;
}
