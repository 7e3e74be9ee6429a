package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amoskys/amoskys/internal/testbroker"
)

// groupSession is after which silence the brokers of TestWorkersKilled give a worker's partitions to others.
const groupSession = 6 * time.Second

// TestWorkersKilled has three workers join, leave, die and stand still on three brokers while events come in. What they
// say together is what one undisturbed worker makes of the same log.
func TestWorkersKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("three real brokers take half a minute to start")
	}
	for _, grouping := range []struct {
		name, group string
		args        []string
	}{{"fused", chainGroup, nil}, {"split", lineageGroup, []string{"--stage", "lineage,features,scoring"}}} {
		t.Run(grouping.name, func(t *testing.T) {
			k := &killer{r: rand.New(rand.NewPCG(3, 3)), args: append([]string{"process"}, grouping.args...), rounds: 1}
			if grouping.name == "split" {
				chaos(t)
			}
			if long() {
				k.rounds = 12 // five minutes and more
			}
			c := testbroker.Start(t, testbroker.Options{Brokers: 3, GroupSession: groupSession})
			replicated := "AMOSKYS_TOPICS_REPLICATION=3"
			must(t, environ(t, c, "topics", replicated), "topics", "create")
			v := see(t, c)
			for i := range k.envs { // with one worker each, so that each has partitions
				k.envs[i] = environ(t, c, "chain", replicated, "AMOSKYS_ENGINE_WORKERS=1")
			}
			load := v.start(t, newMixture(3, time.Now(), 400, 100), 400)
			began := time.Now()
			k.run(t)
			load.stop(t)
			ended := time.Now()
			limit := v.settle(t, grouping.group, 2*time.Minute)
			t.Logf("%d events in %s; %d starts, %d leaves, %d kills, %d freezes; caught up %s after the last event", load.sent.Load(), ended.Sub(began).Round(time.Second),
				k.starts, k.leaves, k.kills, k.freezes, time.Since(ended).Round(time.Millisecond))
			v.mustEqual(t, "workers that die", limit, time.Minute)
		})
	}
}

// A fault is what happens to a worker.
type fault int

const (
	leave  fault = iota // it is asked to end, and gives its partitions up in order
	die                 // SIGKILL in whatever it does
	freeze              // SIGSTOP for longer than the group waits: it comes back to partitions that are another's
)

// A killer starts three programs and disturbs them, one after the other, in an order and at moments that its seed gives.
type killer struct {
	r       *rand.Rand
	args    []string
	envs    [3][]string
	rounds  int // of all faults
	running [3]*program

	starts, leaves, kills, freezes int
}

func (k *killer) run(t *testing.T) {
	t.Helper()
	for i := range k.running {
		k.start(t, i)
	}
	for range k.rounds {
		faults := []fault{leave, leave, die, die, die, freeze}
		k.r.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for _, f := range faults {
			k.moment()
			i := k.r.IntN(len(k.running))
			k.disturb(t, f, i)
			if k.running[i] == nil {
				k.moment()
				k.start(t, i)
			}
		}
	}
}

func (k *killer) moment() { <-time.After(time.Duration(500+k.r.IntN(2000)) * time.Millisecond) }

// disturb does something to program i, which has not ended by itself.
func (k *killer) disturb(t *testing.T, f fault, i int) {
	t.Helper()
	p := k.running[i]
	select {
	case <-p.exited:
		t.Fatalf("%s has ended by itself:\n%s", p.name, tail(p.talk.String(), 10))
	default:
	}
	switch f {
	case leave:
		k.leaves++
		if code := p.stop(t); code != 0 {
			t.Errorf("%s ended with %d after it was asked to leave:\n%s", p.name, code, tail(p.talk.String(), 10))
		}
		k.running[i] = nil
	case die:
		k.kills++
		p.kill()
		k.running[i] = nil
	case freeze:
		k.freezes++
		k.freeze(t, p)
	}
}

func (k *killer) start(t *testing.T, i int) {
	k.starts++
	k.running[i] = begin(t, k.envs[i], k.args...)
}

// freeze lets a worker with partitions stand still until all of them are others', and sees that it notices.
func (k *killer) freeze(t *testing.T, p *program) {
	t.Helper()
	eventually(t, 30*time.Second, "a worker with partitions", func(context.Context) error {
		if text := p.talk.String(); len(owned(text)) == 0 {
			return errors.New(tail(text, 5))
		}
		return nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	said := len(p.talk.String())
	mine := owned(p.talk.String())
	<-time.After(groupSession + 2*time.Second) // the time without a word is what is tested
	eventually(t, 30*time.Second, "others with the partitions of the worker that stands still", func(context.Context) error {
		left := maps.Clone(mine)
		for _, other := range k.running {
			if other != nil && other != p {
				maps.DeleteFunc(left, func(part string, _ bool) bool { return owned(other.talk.String())[part] })
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("partitions %v are nobody's", left)
		}
		return nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the worker that stood still to find its partitions gone", func(context.Context) error {
		text := p.talk.String()[said:]
		for _, word := range []string{"partitions lost", "partitions revoked", "session dropped"} {
			if strings.Contains(text, word) {
				return nil
			}
		}
		return errors.New(tail(text, 5))
	})
}

var moved = regexp.MustCompile(`msg="partitions (assigned|revoked|lost)".* partitions="?\[([0-9 ]*)\]`)

// owned are the partitions that a worker has, by what it said.
func owned(talk string) map[string]bool {
	have := map[string]bool{}
	for _, m := range moved.FindAllStringSubmatch(talk, -1) {
		for part := range strings.FieldsSeq(m[2]) {
			if have[part] = true; m[1] != "assigned" {
				delete(have, part)
			}
		}
	}
	return have
}
