/* Meters: what a run measures between two logged steps, and the line that is written of it. */
#include "training/training.h"

#include <math.h>

/* Index of a meter, made if it is new. A name too many is left out: the limit is far above what any method measures. */
static int32_t find(rlhfi_meters *meters, const char *name)
{
    size_t length = strlen(name);
    int32_t index = 0;

    while (index < meters->count && strcmp(meters->name[index], name) != 0)
        index++;
    if (index == RLHFI_MAX_METRICS || length >= RLHFI_METRIC_NAME)
        return -1;
    if (index == meters->count) {
        memcpy(meters->name[index], name, length + 1);
        meters->sum[index] = 0;
        meters->weight[index] = 0;
        meters->count++;
    }
    return index;
}

void rlhfi_meter_mean(rlhfi_meters *meters, const char *name, double value)
{
    int32_t index = find(meters, name);

    if (index < 0)
        return;
    if (meters->weight[index] == 0)
        meters->sum[index] = isnan(value) ? NAN : 0;
    if (isnan(value))
        return;
    meters->sum[index] += value;
    meters->weight[index] += 1;
}

void rlhfi_meter_last(rlhfi_meters *meters, const char *name, double value)
{
    int32_t index = find(meters, name);

    if (index >= 0)
        meters->sum[index] = value;
}

double rlhfi_meter_value(const rlhfi_meters *meters, int32_t index)
{
    return meters->weight[index] > 0 ? meters->sum[index] / meters->weight[index] : meters->sum[index];
}

void rlhfi_meters_json(const rlhfi_meters *meters, uint64_t step, rlhfi_string *line)
{
    rlhfi_string_add_format(line, "{\"step\": %llu", (unsigned long long)step);
    for (int32_t i = 0; i < meters->count; i++) {
        double value = rlhfi_meter_value(meters, i);
        rlhfi_string_add(line, ", ");
        rlhfi_string_add_json(line, meters->name[i], strlen(meters->name[i]));
        rlhfi_string_add(line, ": ");
        if (isfinite(value))
            rlhfi_string_add_double(line, value);
        else
            rlhfi_string_add(line, "null");
    }
    rlhfi_string_add(line, "}\n");
}
