package signature

import (
	"strings"

	"github.com/amoskys/amoskys/processors/internal/paths"
	"github.com/amoskys/amoskys/schemas"
)

var shells = set("sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "csh", "tcsh", "fish")

// servers are programs that answer the network and start shells only when somebody makes them. Names are without version.
var servers = set("nginx", "openresty", "apache", "httpd", "php-fpm", "php-cgi", "lighttpd", "caddy", "mysqld", "mariadbd", "postgres", "postmaster", "mongod",
	"redis-server", "valkey-server", "memcached", "named", "vsftpd", "proftpd")

var windowsServers = set("w3wp.exe", "sqlservr.exe", "httpd.exe", "nginx.exe", "php-cgi.exe", "mysqld.exe", "postgres.exe", "oracle.exe", "umworkerprocess.exe",
	"ws_tomcatservice.exe", "tomcat7.exe", "tomcat8.exe", "tomcat9.exe", "tomcat10.exe")

// applicationServers are what the command line of a Java application server has in it.
var applicationServers = []string{"org.apache.catalina.startup.Bootstrap", "-Dcatalina.home", "-Djboss.home.dir", "jboss-modules.jar", "weblogic.Server", "-Dsolr.solr.home",
	"com.ibm.ws.runtime", "coldfusion.", "activemq.jar"}

// probes are programs that an intruder starts without a shell, and a server never.
var probes = set("whoami", "id", "nc", "ncat", "netcat", "socat")

func serverShell(l *schemas.LineageRecord) bool {
	if windowsServers[l.Parent.Name] {
		return windowsShells[l.Process.Name] || l.Process.Name == "whoami.exe"
	}
	if l.Process.Name == "" || strings.HasSuffix(l.Process.Name, ".exe") || !server(&l.Parent) {
		return false
	}
	name := stem(l.Process.Name)
	switch cmd := l.Process.CmdLine; {
	case shells[name]:
		return !ordinaryHelper(cmd)
	case interpreters[name]:
		return inline(cmd)
	}
	return probes[name]
}

func server(p *schemas.Process) bool {
	if servers[stem(p.Name)] {
		return true
	}
	if p.Name != "java" {
		return false
	}
	for _, s := range applicationServers {
		if strings.Contains(p.CmdLine, s) {
			return true
		}
	}
	return false
}

// inline says whether an interpreter was given its program on the command line.
func inline(cmd string) bool {
	return strings.Contains(cmd, " -c ") || strings.Contains(cmd, " -e ") || strings.Contains(cmd, " -r ")
}

// helpers are programs that web applications and databases start through a shell in the ordinary course.
var helpers = set("sendmail", "msmtp", "rotatelogs", "cronolog", "convert", "magick", "mogrify", "identify", "gs", "ffmpeg", "ffprobe", "exiftool", "pdftotext",
	"pdftoppm", "pdfinfo", "wkhtmltopdf", "wkhtmltoimage", "libreoffice", "soffice", "git", "svn", "optipng", "jpegoptim", "pngquant", "gifsicle", "cwebp",
	"locale", "pg_archivecleanup", "which", "command", "type", "df", "nproc", "uptime", "stty", "php")

// ordinaryHelper says whether a shell was only started to start something ordinary: a script from a system directory, a
// single helper, or one of PostgreSQL's commands for its write-ahead log (which name a file in pg_wal, or the file that one
// is restored to).
func ordinaryHelper(cmd string) bool {
	shell, rest, _ := strings.Cut(strings.TrimSpace(cmd), " ")
	if shell == "" {
		return false
	}
	rest = strings.TrimSpace(rest)
	if rest != "" && rest[0] != '-' {
		script, _, _ := strings.Cut(rest, " ")
		return paths.System(script)
	}
	option, text, ok := strings.Cut(rest, " ")
	if !ok || !strings.HasPrefix(option, "-") || !strings.HasSuffix(option, "c") {
		return false
	}
	text = strings.TrimSpace(text)
	text = unquote(strings.TrimSpace(strings.TrimPrefix(text, "-- "))) // as system() starts a shell since POSIX.1-2024
	if strings.Contains(text, "pg_wal/") || strings.Contains(text, "pg_xlog/") {
		return true
	}
	return singleHelper(text)
}

// harmless are redirections that change nothing about what is run.
var harmless = strings.NewReplacer("2>&1", "", "2>/dev/null", "", "2> /dev/null", "", ">/dev/null", "", "> /dev/null", "", "</dev/null", "")

func singleHelper(text string) bool {
	text = strings.TrimSpace(harmless.Replace(text))
	text = strings.TrimPrefix(text, "exec ")
	if strings.ContainsAny(text, ";|&`$<>\n(){}") {
		return false
	}
	program, args, _ := strings.Cut(text, " ")
	program = strings.Trim(program, `'"`)
	if strings.HasPrefix(program, "/usr/share/") || strings.HasPrefix(program, "/usr/libexec/") { // what packages keep for their own use
		return !strings.Contains(program, "/../")
	}
	name := paths.Base(program)
	if name != program && !paths.System(program) {
		return false
	}
	if name == "php" && inline(" "+args+" ") {
		return false
	}
	return helpers[stem(name)] || strings.HasPrefix(name, "wsrep_sst_")
}

// unquote takes off the quotes that normalize puts around an argument.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		return strings.ReplaceAll(s[1:len(s)-1], `'\''`, "'")
	}
	return s
}
