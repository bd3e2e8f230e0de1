#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_flag(const char *name, const char *const *flags)
{
    for (; *flags != NULL; flags++)
        if (strcmp(name, *flags) == 0)
            return true;
    return false;
}

bool arguments_parse(arguments *arguments, int argc, char **argv, const char *const *flags)
{
    memset(arguments, 0, sizeof *arguments);
    arguments->command = argv[1];
    for (int i = 2; i < argc; i++) {
        if (arguments->count == (int)(sizeof arguments->item / sizeof arguments->item[0])) {
            program_usage("too many arguments (at most %d)", arguments->count);
            return false;
        }
        argument *item = &arguments->item[arguments->count++];
        if (strncmp(argv[i], "--", 2) != 0) {
            item->value = argv[i];
            continue;
        }
        item->name = argv[i] + 2;
        char *equals = strchr(argv[i], '=');
        if (equals != NULL) {
            *equals = '\0';
            item->value = equals + 1;
        } else if (!is_flag(item->name, flags)) {
            if (i + 1 >= argc) {
                program_usage("--%s needs a value", item->name);
                return false;
            }
            item->value = argv[++i];
        }
    }
    return true;
}

static argument *find(arguments *arguments, const char *name)
{
    if (arguments->known_count < (int)(sizeof arguments->known / sizeof arguments->known[0]))
        arguments->known[arguments->known_count++] = name;
    argument *found = NULL;
    for (int i = 0; i < arguments->count; i++) {
        if (arguments->item[i].name != NULL && strcmp(arguments->item[i].name, name) == 0) {
            found = &arguments->item[i]; /* the last one wins, as in most programs */
            found->used = true;
        }
    }
    return found;
}

const char *arguments_text(arguments *arguments, const char *name, const char *otherwise)
{
    argument *item = find(arguments, name);
    return item != NULL && item->value != NULL ? item->value : otherwise;
}

const char *arguments_required(arguments *arguments, const char *name)
{
    const char *value = arguments_text(arguments, name, NULL);
    if (value == NULL && arguments->error == 0)
        arguments->error =
            program_usage("%s: --%s is needed (try rlhf %s --help)", arguments->command, name, arguments->command);
    return value;
}

/* Decimal numbers without the locale's help: mantissa digits and a power of ten, enough for options. */
bool parse_number(const char *text, double *out)
{
    double sign = 1.0, value = 0.0;
    int digits = 0, exponent = 0;
    if (*text == '-' || *text == '+')
        sign = *text++ == '-' ? -1.0 : 1.0;
    for (; *text >= '0' && *text <= '9'; text++, digits++)
        value = value * 10.0 + (*text - '0');
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, digits++, exponent--)
            value = value * 10.0 + (*text - '0');
    if (digits == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        int direction = 1, power = 0, power_digits = 0;
        text++;
        if (*text == '-' || *text == '+')
            direction = *text++ == '-' ? -1 : 1;
        for (; *text >= '0' && *text <= '9' && power < 1000; text++, power_digits++)
            power = power * 10 + (*text - '0');
        if (power_digits == 0)
            return false;
        exponent += direction * power;
    }
    /* Division by an exact power of ten rounds once: 0.1 stays the double nearest to 0.1. */
    *out = sign * (exponent < 0 ? value / pow(10.0, -exponent) : value * pow(10.0, exponent));
    return *text == '\0';
}

double arguments_number(arguments *arguments, const char *name, double otherwise, double low, double high)
{
    argument *item = find(arguments, name);
    if (item == NULL)
        return otherwise;
    double value;
    if (item->value == NULL || !parse_number(item->value, &value) || !(value >= low && value <= high)) {
        if (arguments->error == 0)
            arguments->error = program_usage("--%s: \"%s\" is not a number from %g to %g", name,
                                             item->value != NULL ? item->value : "", low, high);
        return otherwise;
    }
    return value;
}

int64_t arguments_integer(arguments *arguments, const char *name, int64_t otherwise, int64_t low, int64_t high)
{
    argument *item = find(arguments, name);
    if (item == NULL)
        return otherwise;
    char *end = NULL;
    long long value = item->value != NULL ? strtoll(item->value, &end, 10) : 0;
    if (end == NULL || end == item->value || *end != '\0' || value < low || value > high) {
        if (arguments->error == 0)
            arguments->error = program_usage("--%s: \"%s\" is not a whole number from %lld to %lld", name,
                                             item->value != NULL ? item->value : "", (long long)low, (long long)high);
        return otherwise;
    }
    return value;
}

bool arguments_flag(arguments *arguments, const char *name)
{
    argument *item = find(arguments, name);
    return item != NULL && (item->value == NULL || strcmp(item->value, "false") != 0);
}

const char *arguments_word(arguments *arguments, int index)
{
    for (int i = 0; i < arguments->count; i++) {
        if (arguments->item[i].name == NULL && index-- == 0) {
            arguments->item[i].used = true;
            return arguments->item[i].value;
        }
    }
    return NULL;
}

rlhf_dataset_options arguments_dataset(arguments *arguments)
{
    rlhf_dataset_options options;
    rlhf_dataset_options_init(&options, sizeof options);
    options.max_rows = (uint64_t)arguments_integer(arguments, "rows", 0, 0, INT64_MAX);
    const char *policy = arguments_text(arguments, "bad-rows", "stop");
    if (strcmp(policy, "skip") == 0)
        options.bad_row = RLHF_BAD_ROW_SKIP;
    else if (strcmp(policy, "stop") != 0 && arguments->error == 0)
        arguments->error = program_usage("--bad-rows: \"%s\" is neither stop nor skip", policy);
    return options;
}

rlhf_model_options arguments_formats(arguments *arguments)
{
    rlhf_model_options options;
    rlhf_model_options_init(&options, sizeof options);
    const char *dtype = arguments_text(arguments, "dtype", "float32");
    const char *bf16 = arguments_text(arguments, "bf16", "false");
    if (strcmp(bf16, "true") == 0)
        options.compute_format = RLHF_BFLOAT16;
    else if (strcmp(bf16, "false") != 0 && arguments->error == 0)
        arguments->error = program_usage("--bf16: \"%s\" is neither true nor false", bf16);
    if (strcmp(dtype, "bfloat16") == 0)
        options.compute_format = options.weight_format = RLHF_BFLOAT16;
    else if (strcmp(dtype, "float32") != 0 && arguments->error == 0)
        arguments->error = program_usage("--dtype: \"%s\" is neither float32 nor bfloat16", dtype);
    return options;
}

static size_t edits(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);
    if (n >= 63)
        return 99;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

bool arguments_finish(arguments *arguments)
{
    if (arguments->error != 0)
        return false;
    for (int i = 0; i < arguments->count; i++) {
        const argument *item = &arguments->item[i];
        if (item->used)
            continue;
        if (item->name == NULL) {
            arguments->error = program_usage("%s: unexpected word \"%s\"", arguments->command, item->value);
            return false;
        }
        const char *nearest = NULL;
        size_t distance = 4;
        for (int k = 0; k < arguments->known_count; k++) {
            size_t d = edits(item->name, arguments->known[k]);
            if (d < distance) {
                distance = d;
                nearest = arguments->known[k];
            }
        }
        if (nearest != NULL)
            arguments->error =
                program_usage("%s: unknown option --%s (did you mean --%s?)", arguments->command, item->name, nearest);
        else
            arguments->error = program_usage("%s: unknown option --%s (try rlhf %s --help)", arguments->command,
                                             item->name, arguments->command);
        return false;
    }
    return true;
}
