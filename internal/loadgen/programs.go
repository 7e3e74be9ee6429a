package loadgen

import (
	"strconv"
	"strings"
)

// program is one executable.
type program struct {
	path, name string
	user       string
	uid        string
	cwd        string
	argv       [][]string // the usual argument vectors, the most frequent first
	lines      []string   // the same as command lines
	carrier    bool       // starts others
	parents    [2]int     // programs that start it: usually the first
}

// The measured shapes; the package comment says where they come from.
var (
	argCount   = quantiles{1, 2, 3, 5, 13, 25, 50, 60}
	argLength  = quantiles{1, 2, 4, 9, 14, 34, 80, 120}
	childCount = quantiles{1, 1, 1, 2, 2, 4, 9, 20} // of programs that start any, hubs aside
	childExit  = []float64{966, 26, 8}              // exit codes 0, 1, 2
	changes    = []float64{348, 348, 299, 5}
	argvOfEach = 64
)

const (
	hubs            = 16  // programs that run all the time and start others
	carrierEvery    = 7   // of the programs, by rank, one in so many starts others
	carrierFrom     = 3   // beginning with this rank
	otherParent     = 50  // permille of starts by the second parent
	freshArgv       = 60  // permille of starts with an argument vector nobody had before
	zipfOfArgv      = 0.8 // exponent of the usual argument vectors: with freshArgv half of 1,408 command lines are distinct
	zipfOfObjects   = 0.5 // exponent of files and of remote addresses
	distinctFiles   = 32768
	distinctRemotes = 1175
)

var syllables = strings.Fields("ba co di fe gu ha je ki lo ma ne pi qua ro su ta ve wi xo ya zu bra cle dri flo gra kla mno plu sta tri")

// word is a made-up name of two to four syllables.
func word(r random) string {
	var b strings.Builder
	for range 2 + r.below(3) {
		b.WriteString(syllables[r.below(len(syllables))])
	}
	return b.String()
}

// folder is where a program lies; the depth of its path is 3 for half of them and up to 7.
func folder(r random) string {
	switch p := r.below(100); {
	case p < 45:
		return "/usr/bin/"
	case p < 55:
		return "/usr/sbin/"
	case p < 70:
		return "/usr/lib/" + word(r) + "/"
	case p < 82:
		return "/opt/" + word(r) + "/bin/"
	case p < 92:
		return "/usr/lib/" + word(r) + "/x86_64-linux-gnu/12/"
	}
	return "/home/" + word(r) + "/go/pkg/tool/linux_amd64/"
}

// vocabulary is everything that events are made of: the same for all hosts, as machines of one site are alike.
type vocabulary struct {
	programs []program // by rank; then the hubs
	rank     ranks     // draws a program
	argv     ranks     // draws one of its argument vectors
	files    []string
	file     ranks
	remotes  []string
	remote   ranks
	code     ranks
	change   ranks
}

func newVocabulary(cfg Config) *vocabulary {
	r := newRandom(cfg.Seed, 1)
	v := &vocabulary{
		rank: zipf(cfg.Executables, cfg.Exponent), argv: zipf(argvOfEach, zipfOfArgv), file: zipf(distinctFiles, zipfOfObjects),
		remote: zipf(distinctRemotes, zipfOfObjects), code: newRanks(childExit), change: newRanks(changes),
	}
	for i := range cfg.Executables + hubs {
		v.programs = append(v.programs, newProgram(r, i, cfg.Executables))
	}
	var starters []int
	for i := range v.programs {
		if v.programs[i].carrier && i < cfg.Executables {
			starters = append(starters, i)
		}
	}
	for i := range v.programs {
		p := &v.programs[i]
		for k := range p.parents {
			p.parents[k] = cfg.Executables + r.below(hubs)
			if !p.carrier && len(starters) > 0 && r.chance(800) { // carriers are started by hubs, so that the way up ends
				p.parents[k] = starters[r.below(len(starters))]
			}
		}
	}
	for range distinctFiles {
		v.files = append(v.files, filePath(r))
	}
	for i := range distinctRemotes {
		v.remotes = append(v.remotes, "198."+strconv.Itoa(18+i>>16)+"."+strconv.Itoa(i>>8&255)+"."+strconv.Itoa(i&255)) // RFC 2544: for benchmarks
	}
	return v
}

func newProgram(r random, rank, executables int) program {
	p := program{name: word(r) + strconv.Itoa(rank), user: "root", uid: "0", cwd: "/"}
	p.path = folder(r) + p.name
	p.carrier = rank >= executables || rank%carrierEvery == carrierFrom
	if rank < executables && r.chance(700) {
		p.user, p.uid = "build", "1000"
		p.cwd = "/home/build/" + word(r)
		for range r.below(4) {
			p.cwd += "/" + word(r)
		}
	}
	for range argvOfEach {
		a := p.arguments(r)
		p.argv = append(p.argv, a)
		p.lines = append(p.lines, strings.Join(a, " "))
	}
	return p
}

// arguments is a new argument vector.
func (p *program) arguments(r random) []string {
	a := make([]string, 1, 8)
	a[0] = p.path
	if r.chance(500) {
		a[0] = p.name
	}
	for range argCount.draw(r) - 1 {
		n := argLength.draw(r)
		var b strings.Builder
		switch r.below(4) {
		case 0:
			b.WriteString("-")
		case 1:
			b.WriteString("/")
		}
		for b.Len() < n {
			b.WriteString(syllables[r.below(len(syllables))])
		}
		a = append(a, b.String())
	}
	return a
}

// filePath is the path of a file that is written, four to seven deep.
func filePath(r random) string {
	p := [...]string{"/home/build", "/var/lib", "/tmp", "/var/log", "/srv/data"}[r.below(5)]
	for range 2 + r.below(3) {
		p += "/" + word(r)
	}
	return p + "." + [...]string{"o", "c", "log", "tmp", "json", "d"}[r.below(6)]
}
