package streams

import (
	"maps"
	"slices"

	"github.com/amoskys/amoskys/schemas"
)

// heldPolls is how many full transactions of records a task may hold for want of another input. Beyond it the inputs that
// are ahead are not read until the one it waits for has come after: an upstream stage may be down for hours, and what it
// keeps others waiting for must not fill the memory.
const heldPolls = 4

// ahead are the input topics that the task holds records of and does not wait for. They are none if it waits for none: then
// its next transaction takes what it holds.
func (m *merge) ahead() (topics []string) {
	var first *schemas.Origin
	for _, s := range m.sources {
		if len(s.queue) > 0 && (first == nil || s.queue[0].at.origin.Compare(first) < 0) {
			first = &s.queue[0].at.origin
		}
	}
	if first == nil || !slices.ContainsFunc(m.sources, func(s *source) bool { return s.waits(first) }) {
		return nil
	}
	for _, in := range m.t.plan.inputs {
		holds := false
		for _, s := range m.by[in.Name] {
			holds = holds || len(s.queue) > 0
			if s.waits(first) {
				holds = false
				break
			}
		}
		if holds {
			topics = append(topics, in.Name)
		}
	}
	return topics
}

// throttle stops and starts the reading of inputs that are ahead of others, and shows what is held: just when nothing is
// committed for want of an input.
func (w *worker) throttle() {
	most := heldPolls * w.e.maxPoll
	for part, t := range w.tasks {
		w.e.m.held.WithLabelValues(w.plan.Stage(), label(part)).Set(float64(t.Held()))
		var want []string
		switch held := t.Held(); {
		case held >= most:
			want = t.merge.ahead()
		case held > most/2: // what is stopped stays so, unless the task waits for it now
			ahead := t.merge.ahead()
			want = slices.DeleteFunc(slices.Clone(w.paused[part]), func(topic string) bool { return !slices.Contains(ahead, topic) })
		}
		w.pause(part, want)
	}
	for _, part := range slices.Sorted(maps.Keys(w.paused)) {
		s := w.stalled[part]
		switch {
		case s != nil && s.task != nil: // an entry without a task is of one that is trying again
			delete(w.paused, part) // all inputs are stopped, and are started with the task
		case w.tasks[part] == nil: // what was held is dropped, and read again
			w.pause(part, nil)
		}
	}
}

// pause makes the topics of a partition that are not read the given ones.
func (w *worker) pause(part int32, topics []string) {
	was := w.paused[part]
	if slices.Equal(was, topics) {
		return
	}
	stop, start := map[string][]int32{}, map[string][]int32{}
	for _, topic := range topics {
		if !slices.Contains(was, topic) {
			stop[topic] = []int32{part}
		}
	}
	for _, topic := range was {
		if !slices.Contains(topics, topic) {
			start[topic] = []int32{part}
		}
	}
	w.client.Client().PauseFetchPartitions(stop)
	w.client.Client().ResumeFetchPartitions(start)
	if len(stop) > 0 {
		w.log.Warn("input is ahead of another by as much as is held, and waits", "partition", part, "topics", slices.Sorted(maps.Keys(stop)))
	}
	if w.paused[part] = topics; len(topics) == 0 {
		delete(w.paused, part)
	}
}
