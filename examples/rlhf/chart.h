/* Line and point charts as SVG, self-contained, for reports. */
#ifndef RLHF_CHART_H
#define RLHF_CHART_H

#include "program.h"

typedef struct chart_series {
    const char *name, *color;
    const double *x, *y, *error; /* error: half length of a bar, NULL = none */
    int count;
    bool line, points;
} chart_series;

typedef struct chart {
    const char *title, *x_label, *y_label;
    const chart_series *series;
    int count;
    bool diagonal; /* a grey line y = x (calibration) */
} chart;

void chart_draw(const chart *chart, text *out);

#endif
