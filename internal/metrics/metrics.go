// Package metrics is the one place that knows Prometheus: counters, histograms and gauges for all parts, and the page that shows them.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry holds one process's metrics. Names begin with "henge_".
type Registry struct {
	r *prometheus.Registry
}

// New makes a registry with the Go runtime's and the process's own metrics in it.
func New() *Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &Registry{r: r}
}

// Handler serves the metrics in Prometheus' text format.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.r, promhttp.HandlerOpts{})
}

// Counter counts events by labels. The returned function adds to the counter of these label values; keep what With gives for hot paths.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.r.MustRegister(v)
	return &Counter{v}
}

// Counter is a family of counters.
type Counter struct{ v *prometheus.CounterVec }

// Add adds n to the counter with these label values.
func (c *Counter) Add(n float64, values ...string) { c.v.WithLabelValues(values...).Add(n) }

// Histogram measures durations in seconds by labels.
func (r *Registry) Histogram(name, help string, labels ...string) *Histogram {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
	}, labels)
	r.r.MustRegister(v)
	return &Histogram{v}
}

// Histogram is a family of histograms.
type Histogram struct{ v *prometheus.HistogramVec }

// Observe adds one measurement.
func (h *Histogram) Observe(seconds float64, values ...string) {
	h.v.WithLabelValues(values...).Observe(seconds)
}

// Gauges asks fn at each scrape for the values of one gauge, by the label's value.
func (r *Registry) Gauges(name, help, label string, fn func() map[string]float64) {
	r.r.MustRegister(&gauges{desc: prometheus.NewDesc(name, help, []string{label}, nil), fn: fn})
}

type gauges struct {
	desc *prometheus.Desc
	fn   func() map[string]float64
}

func (g *gauges) Describe(ch chan<- *prometheus.Desc) { ch <- g.desc }

func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	for value, n := range g.fn() {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, n, value)
	}
}
