package streams

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amoskys/amoskys/schemas"
	"github.com/amoskys/amoskys/streams/durable"
	"github.com/klauspost/compress/s2"
)

// A Snapshot is the state of a task at a position.
//
// Its file begins with the eight bytes "amoskys" and 1. Frames follow: length (4 bytes, big-endian), CRC-32C of the payload
// (4 bytes, big-endian), payload. The first byte of a payload is its kind: 'h', the header, is the Snapshot as JSON and
// comes first; 'r' holds rows, compressed as one S2 block: for each, key and value, with their lengths as unsigned varints
// before them; 'e' comes last and holds the number of rows as an unsigned varint. A file is written under another name,
// synced and renamed: one that has its name is complete.
type Snapshot struct {
	App       string           `json:"app"`
	Stage     string           `json:"stage"`
	Partition int32            `json:"partition"`
	Origin    schemas.Origin   `json:"origin"`    // ingest position up to which everything is in it
	Positions map[string]int64 `json:"positions"` // next offsets by input topic
	Rows      []SnapshotRow    `json:"-"`         // sorted by table and key
}

// A SnapshotRow is one row of a task's state, as its record in the changelog.
type SnapshotRow struct{ Key, Value []byte }

// Restore gives the rows to a new task.
func (s *Snapshot) Restore(t *Task) error {
	for _, r := range s.Rows {
		if err := t.RestoreRow(r.Key, r.Value); err != nil {
			return err
		}
	}
	t.Restored()
	return nil
}

const (
	snapshotMagic = "amoskys\x01"
	snapshotExt   = ".snap"
	frameRows     = 256 << 10 // bytes of rows in a frame, before compression; a larger row has a frame of its own
	maxFrame      = 64 << 20  // bytes that a reader takes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteSnapshot writes the state of a task, which must have nothing uncommitted, to the directory of its partition, and
// returns the path: INGESTTIME-OFFSET.snap, milliseconds and offset of its origin.
func WriteSnapshot(dir string, t *Task) (path string, err error) {
	o := t.Origin()
	name := fmt.Sprintf("%013d-%d%s", o.IngestTime, o.Offset, snapshotExt)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("write snapshot: %w", err)
	}
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return "", fmt.Errorf("write snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := &snapshotWriter{w: bufio.NewWriterSize(f, 64<<10)}
	w.write(t)
	path = filepath.Join(dir, name)
	for _, step := range []func() error{
		func() error { return w.err },
		f.Sync,
		f.Close,
		func() error { return os.Rename(f.Name(), path) },
		func() error { return durable.SyncDir(dir) },
	} {
		if err = step(); err != nil {
			return "", fmt.Errorf("write snapshot %s: %w", path, err)
		}
	}
	return path, nil
}

// snapshotWriter keeps the first error, so that what follows is skipped.
type snapshotWriter struct {
	w    *bufio.Writer
	rows []byte
	pack []byte
	n    uint64
	err  error
}

func (w *snapshotWriter) write(t *Task) {
	_, w.err = w.w.WriteString(snapshotMagic)
	head, err := json.Marshal(&Snapshot{App: t.plan.app, Stage: t.plan.stage, Partition: t.Partition, Origin: t.Origin(), Positions: t.Positions()})
	w.err = cmpErr(w.err, err)
	w.frame('h', head)
	w.err = cmpErr(w.err, t.Snapshot(w.row))
	w.flush()
	w.frame('e', binary.AppendUvarint(nil, w.n))
	w.err = cmpErr(w.err, w.w.Flush())
}

func (w *snapshotWriter) row(key, value []byte) error {
	if len(w.rows) > 0 && len(w.rows)+len(key)+len(value) > frameRows {
		w.flush()
	}
	w.rows = append(binary.AppendUvarint(w.rows, uint64(len(key))), key...)
	w.rows = append(binary.AppendUvarint(w.rows, uint64(len(value))), value...)
	w.n++
	return w.err
}

func (w *snapshotWriter) flush() {
	if len(w.rows) > 0 {
		w.pack = s2.Encode(w.pack[:cap(w.pack)], w.rows)
		w.frame('r', w.pack)
		w.rows = w.rows[:0]
	}
}

func (w *snapshotWriter) frame(kind byte, payload []byte) {
	if w.err != nil {
		return
	}
	if len(payload) >= maxFrame {
		w.err = fmt.Errorf("frame of %d bytes is over %d", len(payload), maxFrame)
		return
	}
	var head [9]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(payload)+1))
	head[8] = kind
	binary.BigEndian.PutUint32(head[4:], crc32.Update(crc32.Checksum(head[8:], castagnoli), castagnoli, payload))
	if _, w.err = w.w.Write(head[:]); w.err == nil {
		_, w.err = w.w.Write(payload)
	}
}

// ReadSnapshot reads a snapshot. The error wraps ErrSnapshot if the file is not a complete, undamaged one.
func ReadSnapshot(path string) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	defer f.Close()
	s, err := readSnapshot(bufio.NewReaderSize(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", path, err)
	}
	return s, nil
}

func readSnapshot(r io.Reader) (*Snapshot, error) {
	damaged := func(f string, v ...any) error { return fmt.Errorf("%w: %s", ErrSnapshot, fmt.Sprintf(f, v...)) }
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != snapshotMagic {
		return nil, damaged("it does not begin like one")
	}
	var s *Snapshot
	for n := 0; ; n++ {
		kind, body, err := readFrame(r)
		if err != nil {
			return nil, damaged("frame %d: %v", n, err)
		}
		switch {
		case (kind == 'h') != (n == 0):
			return nil, damaged("frame %d: kind %q out of place", n, kind)
		case kind == 'h':
			s = &Snapshot{}
			if err := json.Unmarshal(body, s); err != nil {
				return nil, damaged("header: %v", err)
			}
		case kind == 'r':
			if err := s.unpack(body); err != nil {
				return nil, damaged("frame %d: %v", n, err)
			}
		case kind == 'e':
			rows, k := binary.Uvarint(body)
			if k != len(body) || rows != uint64(len(s.Rows)) {
				return nil, damaged("it has %d rows, its end says %d", len(s.Rows), rows)
			}
			if _, err := io.ReadFull(r, make([]byte, 1)); err != io.EOF {
				return nil, damaged("something follows its end")
			}
			return s, nil
		default:
			return nil, damaged("frame %d: unknown kind %q", n, kind)
		}
	}
}

func readFrame(r io.Reader) (kind byte, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, fmt.Errorf("cut off: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return 0, nil, fmt.Errorf("length %d", n)
	}
	// Read in steps, so that a damaged length does not cost memory that the file does not have.
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return 0, nil, err
	}
	if len(b) != int(n) {
		return 0, nil, fmt.Errorf("cut off: %w", io.ErrUnexpectedEOF)
	}
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return 0, nil, errors.New("checksum does not match")
	}
	return b[0], b[1:], nil
}

func (s *Snapshot) unpack(pack []byte) error {
	if n, err := s2.DecodedLen(pack); err != nil || n > maxFrame {
		return fmt.Errorf("rows of %d bytes (%v)", n, err)
	}
	b, err := s2.Decode(nil, pack)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		var f [2][]byte
		for i := range f {
			n, k := binary.Uvarint(b)
			if k <= 0 || n > uint64(len(b)-k) {
				return errors.New("row is cut off")
			}
			f[i], b = b[k:k+int(n):k+int(n)], b[k+int(n):]
		}
		s.Rows = append(s.Rows, SnapshotRow{f[0], f[1]})
	}
	return nil
}

// SnapshotFolder is where the snapshots of a task are, below the App's SnapshotDir.
func SnapshotFolder(app, stage string, partition int32) string {
	return filepath.Join(app+"."+stage, strconv.Itoa(int(partition)))
}

// Snapshots lists the snapshots in the directory of a partition, oldest first.
func Snapshots(dir string) (paths []string, err error) {
	es, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	for _, e := range es {
		if strings.HasSuffix(e.Name(), snapshotExt) && !strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	slices.SortFunc(paths, func(a, b string) int { // offsets have no leading zeros
		ta, oa := snapshotAt(a)
		tb, ob := snapshotAt(b)
		return cmp.Or(cmp.Compare(ta, tb), cmp.Compare(oa, ob), strings.Compare(a, b))
	})
	return paths, nil
}

// snapshotAt reads ingest time and offset out of a snapshot's path.
func snapshotAt(path string) (ms, offset int64) {
	t, o, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), snapshotExt), "-")
	ms, _ = strconv.ParseInt(t, 10, 64)
	offset, _ = strconv.ParseInt(o, 10, 64)
	return ms, offset
}

// snapshotter knows when the next snapshot of a task is due: when its ingest time comes into the next interval.
type snapshotter struct {
	dir   string
	last  int64     // interval of the last snapshot
	after time.Time // not before, after a failure
}

// snapshot writes a snapshot of a task that has just committed, if one is due. It never fails the worker: without
// snapshots a replay starts colder, without the worker there are no alerts.
func (w *worker) snapshot(t *Task, now bool) {
	o := t.Origin()
	if w.e.app.SnapshotDir == "" || o.IngestTime <= 0 {
		return
	}
	interval := o.IngestTime / w.e.snapshotInterval.Milliseconds()
	s := w.snaps[t.Partition]
	if s == nil {
		s = &snapshotter{dir: filepath.Join(w.e.app.SnapshotDir, SnapshotFolder(w.e.app.Name, w.plan.Stage(), t.Partition)), last: interval}
		if paths, err := Snapshots(s.dir); err == nil && len(paths) > 0 {
			at, _ := snapshotAt(paths[len(paths)-1])
			s.last = at / w.e.snapshotInterval.Milliseconds()
		}
		removeTorn(s.dir)
		w.snaps[t.Partition] = s
	}
	if (interval <= s.last && !now) || time.Now().Before(s.after) {
		return
	}
	path, err := WriteSnapshot(s.dir, t)
	if err != nil {
		w.log.Error("snapshot is not written", "partition", t.Partition, "err", err)
		w.e.m.snapshots.WithLabelValues(w.plan.Stage(), "failed").Inc()
		s.after = time.Now().Add(time.Minute)
		return
	}
	s.last = interval
	w.e.m.snapshots.WithLabelValues(w.plan.Stage(), "written").Inc()
	w.log.Info("snapshot written", "partition", t.Partition, "path", path)
	if err := pruneSnapshots(s.dir, w.e.snapshotKeep); err != nil {
		w.log.Warn("old snapshots are not deleted", "partition", t.Partition, "err", err)
	}
}

// removeTorn deletes what a killed process has left half-written.
func removeTorn(dir string) {
	torn, _ := filepath.Glob(filepath.Join(dir, ".*"+snapshotExt+".*")) // the pattern is well-formed
	for _, path := range torn {
		os.Remove(path) // if it stays, it is in nobody's way
	}
}

func pruneSnapshots(dir string, keep int) error {
	paths, err := Snapshots(dir)
	if err != nil {
		return err
	}
	for len(paths) > keep {
		if err := os.Remove(paths[0]); err != nil {
			return fmt.Errorf("delete snapshot: %w", err)
		}
		paths = paths[1:]
	}
	return nil
}
