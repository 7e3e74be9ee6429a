package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// opsServer serves metrics and health of everything that runs in the process. Each component has a registry of its own,
// so that two of a kind can live side by side; the server gathers all of them under the label component.
type opsServer struct {
	mu     sync.Mutex
	all    prometheus.Gatherers
	checks map[string]func() error
}

func newOpsServer() *opsServer {
	s := &opsServer{checks: map[string]func() error{}}
	s.registry("process").MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

// registry makes the registry of a component; its metrics carry component as a label.
func (s *opsServer) registry(component string) prometheus.Registerer {
	r := prometheus.NewRegistry()
	s.mu.Lock()
	s.all = append(s.all, r)
	s.mu.Unlock()
	return prometheus.WrapRegistererWith(prometheus.Labels{"component": component}, r)
}

// check adds a readiness check.
func (s *opsServer) check(name string, f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checks[name] = f
}

// Gather implements prometheus.Gatherer over the components of the moment.
func (s *opsServer) gatherers() prometheus.Gatherers {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(prometheus.Gatherers(nil), s.all...)
}

// problems runs the readiness checks.
func (s *opsServer) problems() map[string]string {
	s.mu.Lock()
	checks := maps.Clone(s.checks)
	s.mu.Unlock()
	out := map[string]string{}
	for name, f := range checks {
		if err := f(); err != nil {
			out[name] = err.Error()
		}
	}
	return out
}

// listen serves until ctx ends. The address is taken at once, so that a port in use is an error of the start.
func (s *opsServer) listen(ctx context.Context, key, address string, extra ...func(*http.ServeMux)) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("listen on %s (key %s): %w", address, key, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		promhttp.HandlerFor(s.gatherers(), promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}).ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		p := s.problems()
		w.Header().Set("Content-Type", "application/json")
		if len(p) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": len(p) == 0, "problems": p})
	})
	for _, f := range extra {
		f(mux)
	}
	serve(ctx, l, mux)
	return l.Addr().String(), nil
}

// serve runs an HTTP server on a listener until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			l.Close()
		}
	}()
	go func() {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(stop)
	}()
}
