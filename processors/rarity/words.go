package rarity

import (
	"cmp"
	"fmt"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

// title says what was seen, with the counts behind the score.
func (f *finding) title() string {
	l := f.process
	switch f.detector {
	case executable:
		return fmt.Sprintf("%s of the last %d program starts on this host were %s", few(f.part), f.of, called(&l.Process))
	case descent:
		if f.of == 0 {
			return fmt.Sprintf("%s, which had started nothing on this host before, started %s", called(&l.Parent), called(&l.Process))
		}
		return fmt.Sprintf("%s of the last %d programs that %s started were %s", few(f.part), f.of, called(&l.Parent), called(&l.Process))
	case object:
		return fmt.Sprintf("%s of the last %d %s activities of %s were with something new to it, as is %s", few(f.part), f.of, l.Kind, called(&l.Process), paths.Cut(l.Object, maxWord))
	}
	if f.rate.Name == "" {
		return "nothing was above what is usual in a minute"
	}
	return fmt.Sprintf("%s was %.4g in a minute, where %.3g is usual", f.rate.Name, f.rate.Value, f.rate.Baseline)
}

// features are the counts behind the score.
func (f *finding) features() []schemas.Feature {
	switch f.detector {
	case executable:
		return []schemas.Feature{{Name: "starts_of_executable", Value: float64(f.part)}, {Name: "starts_on_host", Value: float64(f.of)}}
	case descent:
		return []schemas.Feature{{Name: "starts_under_parent", Value: float64(f.part)}, {Name: "starts_of_parent", Value: float64(f.of)}}
	case object:
		kind := f.process.Kind
		return []schemas.Feature{{Name: "new_" + kind + "_objects", Value: float64(f.part)}, {Name: kind + "_activities", Value: float64(f.of)}}
	}
	if f.rate.Name == "" {
		return nil
	}
	return []schemas.Feature{f.rate}
}

func few(n int64) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}

// maxWord bounds a name in a title, bytes.
const maxWord = 256

func called(p *schemas.Process) string { return paths.Cut(cmp.Or(p.Path, p.Name), maxWord) }
