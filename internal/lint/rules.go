package lint

// A Rule is one rule of the house.
type Rule struct {
	Name   string
	Reason string // why it is one; printed with every finding
	Check  func(*Tree) []Finding
}

// Rules are all rules.
var Rules = []Rule{
	{"dependencies", "dependencies point one way, cmd → internal/cli → {collectors, processors, sinks} → streams → schemas, so that each part can be understood, tested and replaced alone", dependencies},
	{"kafka", "only packages under streams know the Kafka client: what the engine promises is promised in one place", kafka},
	{"test packages", "what is made for tests is not in the program", testPackages},
	{"banned imports", "tests are plain Go: an assertion library hides what is compared", bannedImports},
	{"pure processors", "a processor gives the same records for the same records, whenever and wherever it runs: it has no clock, chance, network, files or goroutines", pureProcessors},
	{"main", "main is wiring: what is worth more than 40 lines belongs where it can be tested", mainIsSmall},
	{"package comment", "a newcomer reads first what a package is for", packageComments},
	{"package name", "a package is named for what it provides; a drawer is where code goes to be forgotten", packageNames},
	{"no init", "nothing registers itself: what runs is what a list names, in an order that can be read", noInit},
	{"panic", "bad input never ends the program; a panic is for what cannot be, and says so in the list of allowed places", panics},
	{"documented", "every exported name is documented: units, shapes, errors", documented},
	{"file length", "a file is one idea", fileLength},
	{"function length", "what does not fit on two screens is not read as a whole", functionLength},
	{"error texts", "errors read as one sentence, outermost action first: verb object: cause", errorTexts},
	{"no sleep in tests", "a test waits for the thing itself, with a deadline: a sleep is too short on a loaded machine and too long on every other", sleeps},
	{"unfinished", "the tree has no notes about what is missing: that is what the tracker is for", unfinished},
	{"topic names", "topics are declared in one place, with key, retention and owner", topicNames},
	{"paths in documents", "a newcomer follows the documents: what they name and link to is there", documentPaths},
	{"own paths", "the project speaks of itself, not of the machine somebody works on", ownPaths},
}

// The families: each is a list of plug-ins that do not know each other.
var families = []string{"collectors", "processors", "sinks"}

// panicsAllowed are the files in which panic is called outside of Must functions: how often at most, and why.
var panicsAllowed = map[string]struct {
	n   int
	why string
}{
	"schemas/schema.go":    {4, "the schemas are embedded: what is wrong with them is wrong in every test"},
	"streams/context.go":   {2, "two tables of one name, or an encoder that was not bound: a bug in a processor, found by its first test"},
	"streams/lifecycle.go": {4, "an activation or dead letter of ours that its own schema does not take"},
	"streams/merge.go":     {1, "a progress record of ours that its own schema does not take"},
	"streams/table.go":     {1, "a value type without a schema: a bug in a processor, found by its first test"},
	"streams/task.go":      {1, "a tick of ours that its own schema does not take"},
	"streams/time.go":      {1, "a state row of ours that has no schema"},
}
