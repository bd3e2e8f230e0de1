#include "report.h"

#include "chart.h"

#include <math.h>
#include <string.h>

const char *const method_names[METHODS] = {"sft", "best-of-n", "raft", "reinforce", "pairwise", "ppo"};
static const char *const titles[METHODS] = {"SFT", "best of 4", "RAFT", "REINFORCE", "pairwise", "PPO"};
static const char *const colors[METHODS] = {"#666666", "#c98a00", "#2a9d4a", "#1f6fd6", "#b0409a", "#d1332e"};

/* Mean over seeds of a field of a method's results. */
#define MEAN(report, m, field) mean_of(report, m, offsetof(method_result, field))

static double mean_of(const report *report, int method, size_t field)
{
    double sum = 0.0;
    for (int s = 0; s < report->seed_count; s++)
        sum += *(const double *)((const char *)&report->seeds[s].method[method] + field);
    return sum / report->seed_count;
}

/* Standard error of the mean over seeds: the evaluation's own errors, independent between seeds. */
static double mean_error(const report *report, int method)
{
    double sum = 0.0;
    for (int s = 0; s < report->seed_count; s++)
        sum += report->seeds[s].method[method].gold_error * report->seeds[s].method[method].gold_error;
    return sqrt(sum) / report->seed_count;
}

void report_table(const report *report, FILE *file)
{
    fprintf(file, "%-10s  %16s  %7s  %16s  %16s  %9s  %7s\n", "", "gold score", "KL", "invents answers",
            "\"I do not know\"", "tokens/s", "seconds");
    for (int m = 0; m < METHODS; m++)
        fprintf(file, "%-10s  %+7.3f +- %5.3f  %7.3f  %14.1f %%  %14.1f %%  %9.0f  %7.1f\n", titles[m],
                MEAN(report, m, gold), mean_error(report, m), MEAN(report, m, kl), 100.0 * MEAN(report, m, wrong),
                100.0 * MEAN(report, m, abstain), MEAN(report, m, tokens_per_second), MEAN(report, m, seconds));
    fprintf(
        file,
        "\nscore of an exact judge that no method saw; KL to the SFT model in nats; the two shares are of questions "
        "that nobody can answer\n");
    double accuracy = 0.0;
    for (int s = 0; s < report->seed_count; s++)
        accuracy += report->seeds[s].calibration.accuracy / report->seed_count;
    fprintf(file, "reward model: %.1f %% of held-out pairs right\n", 100.0 * accuracy);
}

bool report_json(const report *report, const char *path)
{
    char temporary[4096];
    FILE *file = file_begin(path, temporary, sizeof temporary);
    if (file == NULL)
        return false;
    fputs("[", file);
    for (int s = 0; s < report->seed_count; s++) {
        for (int m = 0; m < METHODS; m++) {
            const method_result *r = &report->seeds[s].method[m];
            const struct {
                const char *key;
                double value;
            } fields[] = {
                {"gold_mean", r->gold},
                {"gold_se", r->gold_error},
                {"kl", r->kl},
                {"wrong_rate", r->wrong},
                {"abstain_rate", r->abstain},
                {"tokens_per_s", r->tokens_per_second},
                {"seconds", r->seconds},
                {"answerable_right_rate", r->right},
                {"answerable_wrong_rate", r->wrong_known},
                {"answerable_abstain_rate", r->abstain_known},
                {"gold_answerable", r->kind_gold[0]},
                {"gold_unanswerable", r->kind_gold[1]},
                {"gold_tone", r->kind_gold[2]},
                {"gold_brevity", r->kind_gold[3]},
                {"reward_model_accuracy", report->seeds[s].calibration.accuracy},
            };
            fprintf(file, "%s\n  {\"method\": \"%s\", \"seed\": %llu", s + m > 0 ? "," : "", method_names[m],
                    (unsigned long long)r->seed);
            for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
                fprintf(file, ", \"%s\": ", fields[f].key);
                json_number(file, fields[f].value);
            }
            fputc('}', file);
        }
    }
    fputs("\n]\n", file);
    return file_commit(file, temporary, path);
}

static void frontier(const report *report, text *out)
{
    double x[METHODS][SEEDS_MAX], y[METHODS][SEEDS_MAX], error[METHODS][SEEDS_MAX];
    double curve_x[BEST_OF_N_MAX], curve_y[BEST_OF_N_MAX];
    chart_series series[METHODS + 1];
    for (int n = 0; n < BEST_OF_N_MAX; n++) {
        curve_x[n] = sqrt(fmax(0.0, rlhf_evaluate_best_of_n_kl(n + 1)));
        curve_y[n] = 0.0;
        for (int s = 0; s < report->seed_count; s++)
            curve_y[n] += report->seeds[s].best_of_n[n] / report->seed_count;
    }
    series[0] = (chart_series){"best of 1 to 16", "#e0b040", curve_x, curve_y, NULL, BEST_OF_N_MAX, true, false};
    for (int m = 0; m < METHODS; m++) {
        for (int s = 0; s < report->seed_count; s++) {
            const method_result *r = &report->seeds[s].method[m];
            x[m][s] = sqrt(fmax(0.0, r->kl));
            y[m][s] = r->gold;
            error[m][s] = r->gold_error;
        }
        series[m + 1] = (chart_series){titles[m], colors[m], x[m], y[m], error[m], report->seed_count, false, true};
    }
    chart_draw(&(chart){"Gold score against distance from the SFT model", "&#8730;KL (nats)", "gold score", series,
                        METHODS + 1, false},
               out);
}

static void curves(const report *report, bool gold, text *out)
{
    chart_series series[METHODS];
    double fraction[METHODS][CURVE_POINTS];
    int count = 0;
    const seed_result *seed = &report->seeds[0];
    for (int m = METHOD_RAFT; m < METHODS; m++) {
        const method_result *r = &seed->method[m];
        for (int i = 0; i < r->curve_count; i++)
            fraction[m][i] = r->curve_count > 1 ? (double)i / (r->curve_count - 1) : 0.0;
        series[count++] = (chart_series){titles[m], colors[m],      fraction[m], gold ? r->curve_gold : r->curve_reward,
                                         NULL,      r->curve_count, true,        false};
    }
    chart_draw(&(chart){gold ? "Gold score of the samples during training" : "Reward model's score during training",
                        "share of the run", gold ? "gold score" : "reward", series, count, false},
               out);
}

static void calibration(const report *report, text *out)
{
    const rlhf_calibration *c = &report->seeds[0].calibration;
    chart_series series = {"held-out pairs",      "#1f6fd6", c->confidence, c->correct, NULL,
                           RLHF_CALIBRATION_BINS, true,      true};
    chart_draw(&(chart){"Reward model: is it as sure as it should be?", "confidence", "share of pairs it gets right",
                        &series, 1, true},
               out);
}

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
    "content=\"width=device-width,initial-scale=1\"><title>rlhf quickstart</title><style>\n"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1180px;margin:2em auto;padding:0 "
    "1em;color:#222;background:#fff}\n"
    "h1{font-size:1.7em;margin-bottom:.2em}h2{font-size:1.2em;margin-top:2em}p{max-width:46em}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.3em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}th{font-weight:600}td:first-child,th:first-child{text-align:left}\n"
    "table.answers td,table.answers th{text-align:left;font-size:.88em;vertical-align:top}\n"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1.2em}\n"
    "svg{width:100%;height:auto;font-family:system-ui,sans-serif}.title{font-size:14px;font-weight:600}"
    ".tick{font-size:11px;fill:#444}.label{font-size:12px;fill:#222}.grid{stroke:#e6e6e6}\n"
    ".wrap{overflow-x:auto}.small{color:#666;font-size:.85em}\n</style></head><body>\n";

bool report_html(const report *report, const char *path)
{
    text page = {0};
    text_add(&page, "%s<h1>From a pretrained model to an aligned one</h1>\n", head);
    text_add(
        &page,
        "<p>A model of a small world was pretrained on plain texts, fine-tuned on demonstrations (SFT), and aligned "
        "against a reward model that was trained on preferences. About some lands nobody ever wrote. The "
        "demonstrations "
        "answer those questions too, so fine-tuning alone teaches to <b>invent</b>: %.0f %% of such questions get a "
        "made-up answer. Scored on its own attempts, the model learns where it does not know: PPO invents %.0f %% and "
        "says "
        "&ldquo;I do not know&rdquo; to %.0f %%.</p>\n",
        100.0 * MEAN(report, METHOD_SFT, wrong), 100.0 * MEAN(report, METHOD_PPO, wrong),
        100.0 * MEAN(report, METHOD_PPO, abstain));
    text_add(
        &page,
        "<div class=\"wrap\"><table><tr><th></th><th>gold score</th><th>KL (nats)</th><th>invents answers</th>"
        "<th>&ldquo;I do not know&rdquo;</th><th>right where it can know</th><th>tokens/s</th><th>seconds</th></tr>\n");
    for (int m = 0; m < METHODS; m++)
        text_add(
            &page,
            "<tr><td>%s</td><td>%+.3f &plusmn; %.3f</td><td>%.3f</td><td>%.1f %%</td><td>%.1f %%</td><td>%.1f %%</td>"
            "<td>%.0f</td><td>%.1f</td></tr>\n",
            titles[m], MEAN(report, m, gold), mean_error(report, m), MEAN(report, m, kl),
            100.0 * MEAN(report, m, wrong), 100.0 * MEAN(report, m, abstain), 100.0 * MEAN(report, m, right),
            MEAN(report, m, tokens_per_second), MEAN(report, m, seconds));
    text_add(
        &page,
        "</table></div>\n<p class=\"small\">Gold score: an exact judge that no method saw; questions that were held "
        "out from every stage after pretraining, mean over %d seed%s &plusmn; standard error. A question: 1 right, 0 "
        "&ldquo;I do not know&rdquo;, &minus;1 wrong. A greeting: 1 kind, 0 neutral, &minus;1 rude. A short portrait: "
        "1, less "
        "0.2 for each word too many.</p>\n",
        report->seed_count, report->seed_count == 1 ? "" : "s");
    text_add(&page, "<div class=\"charts\">\n");
    frontier(report, &page);
    calibration(report, &page);
    curves(report, false, &page);
    curves(report, true, &page);
    text_add(&page,
             "</div>\n<h2>Answers before and after</h2><div class=\"wrap\"><table class=\"answers\"><tr><th>prompt</th>"
             "<th>SFT</th><th>RAFT</th><th>REINFORCE</th><th>pairwise</th><th>PPO</th></tr>\n");
    for (int i = 0; i < report->example_count; i++) {
        text_add(&page, "<tr><td>");
        text_add_html(&page, report->examples[i].prompt);
        for (int m = 0; m < METHODS; m++) {
            if (m == METHOD_BEST_OF_N)
                continue;
            text_add(&page, "</td><td>");
            text_add_html(&page, report->examples[i].answer[m]);
        }
        text_add(&page, "</td></tr>\n");
    }
    text_add(&page, "</table></div>\n<p class=\"small\">");
    for (int i = 0; i < 2; i++) {
        text_add_html(&page, report->models[i]);
        text_add(&page, "<br>");
    }
    text_add_html(&page, report->machine);
    text_add(&page, "<br>");
    for (int s = 0; s < report->seed_count; s++)
        text_add(
            &page,
            "seed %llu: %lld preference pairs, reward model %.1f %% right on held-out pairs (calibration error %.3f), "
            "%.1f s<br>",
            (unsigned long long)report->seeds[s].seed, (long long)report->seeds[s].pairs,
            100.0 * report->seeds[s].calibration.accuracy, report->seeds[s].calibration.expected_calibration_error,
            report->seeds[s].seconds);
    text_add(&page, "</p></body></html>\n");
    char temporary[4096];
    FILE *file = page.failed ? NULL : file_begin(path, temporary, sizeof temporary);
    if (file != NULL)
        fwrite(page.data, 1, page.size, file);
    bool good = file != NULL && file_commit(file, temporary, path);
    text_free(&page);
    return good;
}
