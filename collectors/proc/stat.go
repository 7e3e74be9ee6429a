package proc

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/amoskys/amoskys/schemas"
)

// stat is what is used of /proc/PID/stat, see proc_pid_stat(5).
type stat struct {
	comm    string
	state   byte
	ppid    int64
	session int64
	tty     int64
	flags   uint64
	cpu     uint64 // user and system time, ticks
	threads int64
	start   uint64 // ticks since boot
	stack   uint64 // address of the stack, drawn anew by each exec; 0 where it may not be read
	code    int64  // exit status as wait gives it, of a zombie; 0 where it may not be read
}

// kernelThread is PF_KTHREAD of include/linux/sched.h.
const kernelThread = 0x00200000

func (s *stat) kernel() bool { return s.flags&kernelThread != 0 }

// ended says whether the process only waits to be reaped.
func (s *stat) ended() bool { return s.state == 'Z' || s.state == 'X' }

var errShort = errors.New("text is cut off")

// parseStat reads /proc/PID/stat. The second field is a name in parentheses that may contain anything, a closing one too.
func parseStat(b []byte) (s stat, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("parse stat: %w", errShort)
	}
	s.comm = schemas.Text(string(b[open+1 : end]))
	rest := b[end+1:]
	var utime, stime uint64
	for field := 3; field <= 52; field++ {
		word := nextWord(&rest)
		if len(word) == 0 {
			if field > 24 {
				return s, nil // older kernels have fewer fields
			}
			return s, fmt.Errorf("parse stat: field %d: %w", field, errShort)
		}
		switch field {
		case 3:
			s.state = word[0]
		case 4:
			s.ppid, err = number(word)
		case 6:
			s.session, err = number(word)
		case 7:
			s.tty, err = number(word)
		case 9:
			s.flags, err = unsigned(word)
		case 14:
			utime, err = unsigned(word)
		case 15:
			stime, err = unsigned(word)
			s.cpu = utime + stime
		case 20:
			s.threads, err = number(word)
		case 22:
			s.start, err = unsigned(word)
		case 28:
			s.stack, err = unsigned(word)
		case 52:
			s.code, err = number(word)
		}
		if err != nil {
			return s, fmt.Errorf("parse stat: field %d: %w", field, err)
		}
	}
	return s, nil
}

// parseUID finds the effective user id in /proc/PID/status.
func parseUID(b []byte) (string, bool) {
	line, ok := lineOf(b, "Uid:")
	if !ok {
		return "", false
	}
	nextWord(&line) // real
	uid := nextWord(&line)
	if _, err := strconv.ParseUint(string(uid), 10, 32); err != nil {
		return "", false
	}
	return string(uid), true
}

// capSysPtrace is the number of CAP_SYS_PTRACE, which opens other users' process folders.
const capSysPtrace = 19

// hasCapability says whether a capability is effective, by /proc/PID/status.
func hasCapability(b []byte, number uint) bool {
	line, ok := lineOf(b, "CapEff:")
	if !ok {
		return false
	}
	set, err := strconv.ParseUint(string(nextWord(&line)), 16, 64)
	return err == nil && set>>number&1 == 1
}

// parseBootTime finds the wall time of the boot in /proc/stat, seconds since the Unix epoch.
func parseBootTime(b []byte) (int64, error) {
	line, ok := lineOf(b, "btime ")
	if !ok {
		return 0, fmt.Errorf("parse boot time: no btime: %w", errShort)
	}
	n, err := number(nextWord(&line))
	if err != nil {
		return 0, fmt.Errorf("parse boot time: %w", err)
	}
	return n, nil
}

// lineOf returns what follows the prefix in the first line that begins with it.
func lineOf(b []byte, prefix string) ([]byte, bool) {
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte(prefix)); ok {
			return rest, true
		}
	}
	return nil, false
}

// nextWord cuts the next word off b: a run of bytes that are no white space.
func nextWord(b *[]byte) []byte {
	s := *b
	i := 0
	for i < len(s) && white(s[i]) {
		i++
	}
	j := i
	for j < len(s) && !white(s[j]) {
		j++
	}
	*b = s[j:]
	return s[i:j]
}

func white(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

func number(b []byte) (int64, error)    { return strconv.ParseInt(string(b), 10, 64) }
func unsigned(b []byte) (uint64, error) { return strconv.ParseUint(string(b), 10, 64) }

// ttyName is the name of a controlling terminal by its device number, as the kernel packs it (new_encode_dev).
func ttyName(dev int64) string {
	if dev == 0 {
		return ""
	}
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case major >= 136 && major <= 143: // Unix98 pseudo terminals, Documentation/admin-guide/devices.txt
		return "pts/" + strconv.FormatInt((major-136)<<20|minor, 10)
	case major == 4 && minor < 64:
		return "tty" + strconv.FormatInt(minor, 10)
	case major == 4:
		return "ttyS" + strconv.FormatInt(minor-64, 10)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}
