package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// progress is a line on a terminal that says how far long work is, and how long it takes yet. Elsewhere it says nothing.
type progress struct {
	w    io.Writer // nil where there is no terminal
	now  func() time.Time
	mu   sync.Mutex
	what string
	from time.Time
	last time.Time
	wide int // of the line that stands
}

// progressEvery is the least time between two states of the line: more often nobody can read it.
const progressEvery = 200 * time.Millisecond

func (c *command) progress() *progress {
	p := &progress{now: time.Now}
	if terminal(c.Err) {
		p.w = c.Err
	}
	return p
}

// begin starts a piece of work.
func (p *progress) begin(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.from, p.last = what, p.now(), time.Time{}
}

// at says how much of the work is done.
func (p *progress) at(done, total int64) {
	if p.w == nil || total <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Sub(p.last) < progressEvery {
		return
	}
	p.last = now
	share := min(float64(done)/float64(total), 1)
	line := fmt.Sprintf("%s %3.0f%%", p.what, 100*share)
	if took := now.Sub(p.from); share > 0 && took > time.Second { // earlier it would be a guess
		left := time.Duration(float64(took) * (1 - share) / share)
		line += ", " + left.Round(time.Second).String() + " left"
	}
	p.show(line)
}

// end takes the line away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w != nil && p.wide > 0 {
		p.show("")
		fmt.Fprint(p.w, "\r")
	}
}

// show replaces the line; blanks cover what is left of the one before.
func (p *progress) show(line string) {
	fmt.Fprint(p.w, "\r"+line+strings.Repeat(" ", max(p.wide-len(line), 0)))
	p.wide = len(line)
}

// output is standard output. Once nobody reads it any more, as after '| head', stop is called: what is written goes
// nowhere, and a command that follows a topic would never end.
type output struct {
	io.Writer
	stop func()
}

// Write implements io.Writer.
func (o output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if err != nil {
		o.stop()
	}
	return n, err
}

// terminal says whether w is a terminal, where colour and progress are welcome.
func terminal(w io.Writer) bool {
	if o, ok := w.(output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	i, err := f.Stat()
	return err == nil && i.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
