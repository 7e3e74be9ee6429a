package testbroker

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
)

// Where a container finds what a test gives it, and keeps its data.
const (
	secretsDir = "/etc/kafka/secrets"
	dataDir    = "/var/lib/kafka/data"
)

// containers runs brokers in containers on a network of their own.
type containers struct {
	docker  client.APIClient
	network *testcontainers.DockerNetwork
	brokers []*testcontainers.DockerContainer

	mu    sync.Mutex
	asked []bool // by broker: its end was asked for
}

func startContainers(ctx context.Context, o Options, certs *authority) (_ nodes, _ []string, err error) {
	quiet()
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: no Docker engine: %w", ErrUnavailable, err)
	}
	docker := provider.Client()
	if _, err := docker.Ping(ctx, client.PingOptions{}); err != nil {
		return nil, nil, fmt.Errorf("%w: no Docker engine: %w", ErrUnavailable, err)
	}
	image, err := kafkaImage(ctx, docker)
	if err != nil {
		return nil, nil, err
	}
	ports, err := freePorts(o.Brokers)
	if err != nil {
		return nil, nil, err
	}
	c := &containers{docker: docker, asked: make([]bool, o.Brokers)}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.network, err = tcnetwork.New(ctx); err != nil {
		return nil, nil, fmt.Errorf("create network: %w", err)
	}
	var places []place
	var addrs []string
	for i, port := range ports {
		places = append(places, place{bind: "0.0.0.0", host: fmt.Sprintf("kafka%d", i), client: port, broker: 9093, controller: 9094})
		addrs = append(addrs, places[i].addr())
	}
	for i := range places {
		if err := c.create(ctx, i, image, places, o, certs); err != nil {
			return nil, nil, fmt.Errorf("create container of broker %d: %w", i, err)
		}
	}
	return c, addrs, nil
}

// quiet settles how testcontainers behaves, before its first use. Without the container by which it cleans up after a
// killed test: that one's image has to be pulled, which an image of Kafka that was built or loaded here need not be.
var quiet = sync.OnceFunc(func() {
	const off = "TESTCONTAINERS_RYUK_DISABLED"
	if os.Getenv(off) == "" {
		_ = os.Setenv(off, "true")
	}
	tclog.SetDefault(tclog.NewNoopLogger())
})

func (c *containers) create(ctx context.Context, i int, image string, places []place, o Options, certs *authority) error {
	var pem []testcontainers.ContainerFile
	files := brokerFiles{ca: secretsDir + "/ca.pem", node: secretsDir + "/node.pem"}
	if certs != nil {
		node, err := certs.node(i, places[i].host)
		if err != nil {
			return err
		}
		pem = []testcontainers.ContainerFile{
			{HostFilePath: certs.caFile(), ContainerFilePath: files.ca, FileMode: 0o644},
			{HostFilePath: node, ContainerFilePath: files.node, FileMode: 0o644},
		}
	}
	env := environment(o.properties(i, places, dataDir, files))
	env["KAFKA_HEAP_OPTS"] = "-Xmx512m -Xms64m"
	port, err := network.ParsePort(strconv.Itoa(places[i].client) + "/tcp")
	if err != nil {
		return err
	}
	// The port on the host is fixed: Docker would choose another one when a killed broker starts again.
	publish := network.PortMap{port: {{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: strconv.Itoa(places[i].client)}}}
	b, err := testcontainers.Run(ctx, image,
		testcontainers.WithEnv(env), testcontainers.WithFiles(pem...), testcontainers.WithExposedPorts(port.String()),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) { h.PortBindings = publish }),
		tcnetwork.WithNetwork([]string{places[i].host}, c.network), testcontainers.WithLogger(tclog.NewNoopLogger()))
	if b != nil {
		c.brokers = append(c.brokers, b)
	}
	return err
}

// kafkaImage returns the image to run: what is here already, else what can be pulled, else what can be built.
func kafkaImage(ctx context.Context, docker client.APIClient) (string, error) {
	local := "amoskys/kafka:" + kafkaVersion
	want := os.Getenv("KAFKA_IMAGE")
	candidates := []string{want}
	if want == "" {
		want = "apache/kafka:" + kafkaVersion
		candidates = []string{want, local}
	}
	for _, image := range candidates {
		if _, err := docker.ImageInspect(ctx, image); err == nil {
			return image, nil
		}
	}
	pullErr := pull(ctx, docker, want)
	if pullErr == nil {
		return want, nil
	}
	if err := buildImage(ctx, local); err != nil {
		return "", fmt.Errorf("%w: pull %s: %w; build it: %w", ErrUnavailable, want, pullErr, err)
	}
	return local, nil
}

func pull(ctx context.Context, docker client.APIClient, image string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	resp, err := docker.ImagePull(ctx, image, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	return resp.Wait(ctx)
}

func (c *containers) id(i int) string { return c.brokers[i].GetContainerID() }

func (c *containers) start(ctx context.Context, i int) error {
	c.end(i, false)
	_, err := c.docker.ContainerStart(ctx, c.id(i), client.ContainerStartOptions{})
	return err
}

func (c *containers) kill(ctx context.Context, i int) error {
	c.end(i, true)
	// A frozen container takes no signal.
	_, _ = c.docker.ContainerUnpause(ctx, c.id(i), client.ContainerUnpauseOptions{})
	if _, err := c.docker.ContainerKill(ctx, c.id(i), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		return err
	}
	return c.waitStopped(ctx, i)
}

func (c *containers) stop(ctx context.Context, i int) error {
	c.end(i, true)
	seconds := int(stopTimeout.Seconds())
	_, err := c.docker.ContainerStop(ctx, c.id(i), client.ContainerStopOptions{Timeout: &seconds})
	return err
}

func (c *containers) freeze(ctx context.Context, i int) error {
	_, err := c.docker.ContainerPause(ctx, c.id(i), client.ContainerPauseOptions{})
	return err
}

func (c *containers) thaw(ctx context.Context, i int) error {
	_, err := c.docker.ContainerUnpause(ctx, c.id(i), client.ContainerUnpauseOptions{})
	return err
}

func (c *containers) waitStopped(ctx context.Context, i int) error {
	w := c.docker.ContainerWait(ctx, c.id(i), client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-w.Result:
		return nil
	case err := <-w.Error:
		return err
	}
}

func (c *containers) end(i int, asked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[i] = asked
}

func (c *containers) exited(i int) error {
	c.mu.Lock()
	asked := c.asked[i]
	c.mu.Unlock()
	s, err := c.brokers[i].State(context.Background())
	if err != nil || asked || s.Running || s.Status == container.StateCreated {
		return nil
	}
	return fmt.Errorf("container %s with code %d", s.Status, s.ExitCode)
}

func (c *containers) log(i int) string {
	r, err := c.brokers[i].Logs(context.Background())
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// close removes containers and network; what fails is left to the engine's owner, since the test's result stands.
func (c *containers) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i, b := range c.brokers {
		_, _ = c.docker.ContainerUnpause(ctx, c.id(i), client.ContainerUnpauseOptions{})
		_ = b.Terminate(ctx, testcontainers.StopTimeout(0))
	}
	if c.network != nil {
		_ = c.network.Remove(ctx)
	}
}
