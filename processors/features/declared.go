package features

import "time"

// A Feature is one declared number.
type Feature struct {
	Name   string        // unique for its entity; never changed
	Unit   string        // what 1 stands for
	Window time.Duration // length of the tumbling window
	Entity string        // host or process
	Doc    string
}

type feature[V any] struct {
	Feature
	value func(*V) float64
}

func declare[V any](entity, name, unit, doc string, value func(*V) float64) feature[V] {
	return feature[V]{Feature{name, unit, minute, entity, doc}, value}
}

func ofHost(name, unit, doc string, value func(*hostMinute) float64) feature[hostMinute] {
	return declare("host", name, unit, doc, value)
}

func ofProcess(name, unit, doc string, value func(*processMinute) float64) feature[processMinute] {
	return declare("process", name, unit, doc, value)
}

// Declared are all features, those of hosts first, in the order in which vectors have them.
var Declared = declared()

func declared() (out []Feature) {
	for _, f := range hostFeatures {
		out = append(out, f.Feature)
	}
	for _, f := range processFeatures {
		out = append(out, f.Feature)
	}
	return out
}

var hostFeatures = []feature[hostMinute]{
	ofHost("execs", "programs started", "Programs that were started.", func(v *hostMinute) float64 { return float64(v.Execs) }),
	ofHost("executables", "executables", "Distinct executables that were started.", func(v *hostMinute) float64 { return float64(len(v.Executables)) }),
	ofHost("first_execs", "executables", "Executables that had never run on the host.", func(v *hostMinute) float64 { return float64(v.FirstExecs) }),
	ofHost("first_edges", "pairs", "Pairs of parent and executable that had never been on the host.", func(v *hostMinute) float64 { return float64(v.FirstEdges) }),
	ofHost("first_objects", "objects", "Objects that their executable had never touched on the host.", func(v *hostMinute) float64 { return float64(v.FirstObjects) }),
	ofHost("exits", "processes", "Processes that ended.", func(v *hostMinute) float64 { return float64(v.Exits) }),
	ofHost("orphan_share", "share of execs", "Share of started programs whose parent was never seen.", func(v *hostMinute) float64 { return share(v.Orphans, v.Execs) }),
	ofHost("world_writable_execs", "programs started", "Programs started from a directory that everyone may write.", func(v *hostMinute) float64 { return float64(v.WorldWritable) }),
	ofHost("fileless_execs", "programs started", "Programs started from a removed file or from memory.", func(v *hostMinute) float64 { return float64(v.Fileless) }),
	ofHost("users", "users", "Distinct users that started programs.", func(v *hostMinute) float64 { return float64(len(v.Users)) }),
	ofHost("children_max", "processes", "Most children of one process so far, among those that were active.", func(v *hostMinute) float64 { return float64(v.ChildrenMax) }),
	ofHost("depth_max", "processes", "Longest line of ancestors of a started program.", func(v *hostMinute) float64 { return float64(v.DepthMax) }),
	ofHost("processes", "processes", "Distinct processes that did something besides starting and ending.", func(v *hostMinute) float64 { return float64(len(v.Processes)) }),
	ofHost("connections", "activities", "Network activities.", func(v *hostMinute) float64 { return float64(v.Connections) }),
	ofHost("destinations", "addresses", "Distinct remote addresses.", func(v *hostMinute) float64 { return float64(len(v.Destinations)) }),
	ofHost("ports", "ports", "Distinct destination ports.", func(v *hostMinute) float64 { return float64(len(v.Ports)) }),
	ofHost("queries", "activities", "DNS queries and answers.", func(v *hostMinute) float64 { return float64(v.Queries) }),
	ofHost("domains", "domains", "Distinct domains that were asked for.", func(v *hostMinute) float64 { return float64(len(v.Domains)) }),
	ofHost("files", "activities", "File activities.", func(v *hostMinute) float64 { return float64(v.Files) }),
	ofHost("registry", "activities", "Registry activities.", func(v *hostMinute) float64 { return float64(v.Registry) }),
	ofHost("modules", "activities", "Modules loaded.", func(v *hostMinute) float64 { return float64(v.Modules) }),
	ofHost("accesses", "activities", "Processes opened or injected into by others.", func(v *hostMinute) float64 { return float64(v.Accesses) }),
	ofHost("memory", "activities", "Changes of memory protection.", func(v *hostMinute) float64 { return float64(v.Memory) }),
	ofHost("out_of_order", "records", "Activities before the start or after the end of their process.", func(v *hostMinute) float64 { return float64(v.OutOfOrder) }),
}

var processFeatures = []feature[processMinute]{
	ofProcess("first_objects", "objects", "Objects that its executable had never touched on the host.", func(v *processMinute) float64 { return float64(v.FirstObjects) }),
	ofProcess("children", "processes", "Children so far.", func(v *processMinute) float64 { return float64(v.Children) }),
	ofProcess("connections", "activities", "Network activities.", func(v *processMinute) float64 { return float64(v.Connections) }),
	ofProcess("destinations", "addresses", "Distinct remote addresses.", func(v *processMinute) float64 { return float64(len(v.Destinations)) }),
	ofProcess("ports", "ports", "Distinct destination ports.", func(v *processMinute) float64 { return float64(len(v.Ports)) }),
	ofProcess("queries", "activities", "DNS queries and answers.", func(v *processMinute) float64 { return float64(v.Queries) }),
	ofProcess("files", "activities", "File activities.", func(v *processMinute) float64 { return float64(v.Files) }),
	ofProcess("objects", "objects", "Distinct object templates, of files, registry keys, modules, names and target processes.", func(v *processMinute) float64 { return float64(len(v.Objects)) }),
	ofProcess("registry", "activities", "Registry activities.", func(v *processMinute) float64 { return float64(v.Registry) }),
	ofProcess("modules", "activities", "Modules loaded.", func(v *processMinute) float64 { return float64(v.Modules) }),
	ofProcess("accesses", "activities", "Other processes opened or injected into.", func(v *processMinute) float64 { return float64(v.Accesses) }),
	ofProcess("memory", "activities", "Changes of memory protection.", func(v *processMinute) float64 { return float64(v.Memory) }),
}

func share(part, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}
