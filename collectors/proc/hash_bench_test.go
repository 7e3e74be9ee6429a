package proc

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// BenchmarkHash is what a mebibyte of an executable costs, in processor time: Config.HashRate follows from it.
func BenchmarkHash(b *testing.B) {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	runtime.LockOSThread() // whose processor time is measured
	defer runtime.UnlockOSThread()
	buf := make([]byte, 64<<10)
	n, began := int64(0), now()
	for range b.N {
		f, info, err := openExecutable(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := sumOf(f, info.id.size, buf, func(int) error { return nil }); err != nil {
			b.Fatal(err)
		}
		f.Close()
		n += info.id.size
	}
	b.ReportMetric(float64(now().cpu-began.cpu)/float64(time.Millisecond)/(float64(n)/(1<<20)), "cpu-ms/MiB")
}
