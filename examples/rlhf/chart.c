#include "chart.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 560, HEIGHT = 340, LEFT = 62, RIGHT = 14, TOP = 34, BOTTOM = 84 };

typedef struct axis {
    double low, high, step;
} axis;

/* Rounds the span outwards to 1, 2 or 5 times a power of ten, about five steps. */
static axis make_axis(double low, double high)
{
    if (!(high > low)) {
        low -= 0.5;
        high += 0.5;
    }
    double rough = (high - low) / 5.0, power = pow(10.0, floor(log10(rough))), factor = rough / power;
    double step = power * (factor < 1.5 ? 1.0 : factor < 3.5 ? 2.0 : factor < 7.5 ? 5.0 : 10.0);
    return (axis){floor(low / step) * step, ceil(high / step) * step, step};
}

static double place(const axis *axis, double value, double from, double to)
{
    return from + (value - axis->low) / (axis->high - axis->low) * (to - from);
}

static void range(const chart *chart, axis *x, axis *y)
{
    double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
    for (int s = 0; s < chart->count; s++) {
        const chart_series *series = &chart->series[s];
        for (int i = 0; i < series->count; i++) {
            double bar = series->error != NULL && isfinite(series->error[i]) ? series->error[i] : 0.0;
            if (!isfinite(series->x[i]) || !isfinite(series->y[i]))
                continue;
            x_low = fmin(x_low, series->x[i]);
            x_high = fmax(x_high, series->x[i]);
            y_low = fmin(y_low, series->y[i] - bar);
            y_high = fmax(y_high, series->y[i] + bar);
        }
    }
    if (!isfinite(x_low))
        x_low = y_low = 0.0, x_high = y_high = 1.0;
    *x = make_axis(x_low, x_high);
    *y = make_axis(y_low, y_high);
}

static void draw_series(const chart_series *series, const axis *x, const axis *y, text *out)
{
    if (series->line && series->count > 1) {
        text_add(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" points=\"", series->color);
        for (int i = 0; i < series->count; i++)
            if (isfinite(series->x[i]) && isfinite(series->y[i]))
                text_add(out, "%.1f,%.1f ", place(x, series->x[i], LEFT, WIDTH - RIGHT),
                         place(y, series->y[i], HEIGHT - BOTTOM, TOP));
        text_add(out, "\"/>\n");
    }
    for (int i = 0; i < series->count; i++) {
        if (!isfinite(series->x[i]) || !isfinite(series->y[i]))
            continue;
        double px = place(x, series->x[i], LEFT, WIDTH - RIGHT), py = place(y, series->y[i], HEIGHT - BOTTOM, TOP);
        if (series->error != NULL && isfinite(series->error[i]))
            text_add(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", px, px,
                     place(y, series->y[i] - series->error[i], HEIGHT - BOTTOM, TOP),
                     place(y, series->y[i] + series->error[i], HEIGHT - BOTTOM, TOP), series->color);
        if (series->points)
            text_add(out,
                     "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"><title>%s: %.3f, %.3f</title></circle>\n", px,
                     py, series->color, series->name, series->x[i], series->y[i]);
    }
}

void chart_draw(const chart *chart, text *out)
{
    axis x, y;
    range(chart, &x, &y);
    text_add(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, chart->title);
    text_add(out, "<text x=\"%d\" y=\"18\" class=\"title\">%s</text>\n", LEFT, chart->title);
    for (double value = y.low; value <= y.high + 0.5 * y.step; value += y.step) {
        double py = place(&y, value, HEIGHT - BOTTOM, TOP);
        text_add(out,
                 "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/><text x=\"%d\" y=\"%.1f\" "
                 "class=\"tick\" text-anchor=\"end\">%.4g</text>\n",
                 LEFT, WIDTH - RIGHT, py, py, LEFT - 6, py + 4, fabs(value) < 1e-9 * y.step ? 0.0 : value);
    }
    for (double value = x.low; value <= x.high + 0.5 * x.step; value += x.step) {
        double px = place(&x, value, LEFT, WIDTH - RIGHT);
        text_add(out,
                 "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" class=\"grid\"/><text x=\"%.1f\" y=\"%d\" "
                 "class=\"tick\" text-anchor=\"middle\">%.4g</text>\n",
                 px, px, TOP, HEIGHT - BOTTOM, px, HEIGHT - BOTTOM + 15, fabs(value) < 1e-9 * x.step ? 0.0 : value);
    }
    text_add(out, "<text x=\"%d\" y=\"%d\" class=\"label\" text-anchor=\"middle\">%s</text>\n",
             (LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 33, chart->x_label);
    text_add(out, "<text transform=\"translate(14 %d) rotate(-90)\" class=\"label\" text-anchor=\"middle\">%s</text>\n",
             (TOP + HEIGHT - BOTTOM) / 2, chart->y_label);
    if (chart->diagonal) {
        double low = fmax(x.low, y.low), high = fmin(x.high, y.high);
        text_add(out,
                 "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#999\" stroke-dasharray=\"4 3\"/>\n",
                 place(&x, low, LEFT, WIDTH - RIGHT), place(&y, low, HEIGHT - BOTTOM, TOP),
                 place(&x, high, LEFT, WIDTH - RIGHT), place(&y, high, HEIGHT - BOTTOM, TOP));
    }
    for (int s = 0; s < chart->count; s++)
        draw_series(&chart->series[s], &x, &y, out);
    double legend = LEFT;
    int row = HEIGHT - 30;
    for (int s = 0; s < chart->count; s++) {
        double needed = 24.0 + 7.0 * (double)strlen(chart->series[s].name);
        if (legend + needed > WIDTH - RIGHT) {
            legend = LEFT;
            row += 17;
        }
        text_add(out,
                 "<rect x=\"%.1f\" y=\"%d\" width=\"11\" height=\"11\" rx=\"2\" fill=\"%s\"/><text x=\"%.1f\" y=\"%d\" "
                 "class=\"tick\">%s</text>\n",
                 legend, row - 10, chart->series[s].color, legend + 15, row, chart->series[s].name);
        legend += needed;
    }
    text_add(out, "</svg>\n");
}
