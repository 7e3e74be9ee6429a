package testbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a broker may take to hand over its leaderships and end after SIGTERM; then it is killed.
const stopTimeout = 30 * time.Second

// processes runs brokers as plain JVMs.
type processes struct {
	java, classPath string
	dirs            []string

	mu      sync.Mutex
	running []*process // by broker; nil before the first start
}

// A process is one run of a broker.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	err    error         // why; valid after exited
	asked  bool          // the end was asked for
}

func startProcesses(ctx context.Context, o Options, certs *authority) (nodes, []string, error) {
	java, err := javaCommand(ctx)
	if err != nil {
		return nil, nil, err
	}
	libs, err := kafkaJars(ctx)
	if err != nil {
		return nil, nil, err
	}
	ports, err := freePorts(3 * o.Brokers)
	if err != nil {
		return nil, nil, err
	}
	p := &processes{java: java, classPath: filepath.Join(libs, "*"), running: make([]*process, o.Brokers)}
	var places []place
	var addrs []string
	for i := range o.Brokers {
		places = append(places, place{bind: "127.0.0.1", host: "127.0.0.1", client: ports[3*i], broker: ports[3*i+1], controller: ports[3*i+2]})
		addrs = append(addrs, places[i].addr())
		p.dirs = append(p.dirs, filepath.Join(o.Dir, fmt.Sprintf("broker%d", i)))
	}
	for i, dir := range p.dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, nil, err
		}
		var files brokerFiles
		if certs != nil {
			node, err := certs.node(i)
			if err != nil {
				return nil, nil, err
			}
			files = brokerFiles{ca: certs.caFile(), node: node}
		}
		s := propertiesFile(o.properties(i, places, filepath.Join(dir, "data"), files))
		if err := os.WriteFile(p.config(i), []byte(s), 0o644); err != nil {
			return nil, nil, err
		}
	}
	if err := p.format(ctx); err != nil {
		return nil, nil, err
	}
	for i := range p.dirs {
		if err := p.start(ctx, i); err != nil {
			p.close()
			return nil, nil, err
		}
	}
	return p, addrs, nil
}

func (p *processes) config(i int) string  { return filepath.Join(p.dirs[i], "server.properties") }
func (p *processes) logFile(i int) string { return filepath.Join(p.dirs[i], "kafka.log") }

// format writes the metadata of new brokers, all at once: each takes a JVM's start.
func (p *processes) format(ctx context.Context) error {
	errs := make(chan error, len(p.dirs))
	for i := range p.dirs {
		go func() {
			out, err := exec.CommandContext(ctx, p.java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", p.classPath,
				"kafka.tools.StorageTool", "format", "-t", clusterID, "-c", p.config(i)).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("format broker %d: %w\n%s", i, err, out)
			}
			errs <- err
		}()
	}
	var first error
	for range p.dirs {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func (p *processes) start(_ context.Context, i int) error {
	log, err := os.OpenFile(p.logFile(i), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.java, "-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", p.classPath, "kafka.Kafka", p.config(i))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = p.dirs[i]
	dieWithParent(cmd)
	run := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends, not the process: keep the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		run.err = cmd.Wait()
		close(run.exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[i] = run
	return nil
}

func (p *processes) run(i int) *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running[i]
}

func (p *processes) kill(_ context.Context, i int) error {
	r := p.end(i)
	if r == nil {
		return nil
	}
	_ = r.cmd.Process.Kill() // the error says that it has ended already
	<-r.exited
	return nil
}

func (p *processes) stop(ctx context.Context, i int) error {
	r := p.end(i)
	if r == nil {
		return nil
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.exited:
		return nil
	case <-time.After(stopTimeout): // the last of a quorum waits for the others in vain
		return p.kill(ctx, i)
	}
}

// end marks that broker i is to end; nil when it never ran.
func (p *processes) end(i int) *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.running[i]; r != nil {
		r.asked = true
	}
	return p.running[i]
}

func (p *processes) freeze(_ context.Context, i int) error {
	return p.run(i).cmd.Process.Signal(syscall.SIGSTOP)
}

func (p *processes) thaw(_ context.Context, i int) error {
	return p.run(i).cmd.Process.Signal(syscall.SIGCONT)
}

func (p *processes) exited(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.running[i]
	select {
	case <-r.exited:
		if r.asked {
			return nil
		}
		if r.err == nil {
			return errors.New("without an error")
		}
		return r.err
	default:
		return nil
	}
}

func (p *processes) log(i int) string { return readLog(p.logFile(i)) }

func (p *processes) close() {
	for i := range p.dirs {
		_ = p.kill(context.Background(), i) // the data goes with the test: nothing to write down in order
	}
}
