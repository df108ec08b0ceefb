package process

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// Account is a user and group of this machine as the keys user and group of
// an app name them.
type Account struct {
	// Credential is what a Spec takes.
	Credential Credential
	// Name and Home are the user's, for USER, LOGNAME and HOME; empty if no
	// user was named or it is a bare number.
	Name, Home string
}

// The two files of accounts (passwd(5), group(5)). The static binary has no
// way into NSS, so users of LDAP and the like are named by their numbers.
const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
	// maxAccounts bounds what is read of each.
	maxAccounts = 16 << 20
)

// LookupAccount finds user and group, each a name or a number, either of them
// empty for "as it is". Without group it is the user's own, with the
// supplementary groups that /etc/group gives the user; a group alone keeps
// the supervisor's supplementary groups. A number without an entry will do for
// a user if a group is given: guessing one could be root's.
func LookupAccount(user, group string) (*Account, error) {
	passwd, err := readAccounts(passwdFile)
	if err != nil {
		return nil, err
	}
	groups, err := readAccounts(groupFile)
	if err != nil {
		return nil, err
	}
	return lookupAccount(user, group, passwd, groups)
}

func readAccounts(name string) (string, error) {
	f, err := os.Open(name)
	if os.IsNotExist(err) {
		return "", nil // a container from scratch: numbers do
	}
	if err != nil {
		return "", fmt.Errorf("cannot look up accounts: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAccounts))
	if err != nil {
		return "", fmt.Errorf("cannot look up accounts: %w", err)
	}
	return string(b), nil
}

func lookupAccount(user, group, passwd, groups string) (*Account, error) {
	a := &Account{Credential: Credential{UID: -1, GID: -1}}
	if user != "" {
		// name:password:uid:gid:comment:home:shell
		entry := findEntry(passwd, user, 7)
		if entry != nil {
			uid, err := parseID(entry[2])
			if err != nil {
				return nil, fmt.Errorf("cannot find user %s: its entry in %s is malformed", user, passwdFile)
			}
			gid, err := parseID(entry[3])
			if err != nil {
				return nil, fmt.Errorf("cannot find user %s: its entry in %s is malformed", user, passwdFile)
			}
			a.Name, a.Home = entry[0], entry[5]
			a.Credential = Credential{UID: uid, GID: gid, Groups: memberships(groups, entry[0], gid)}
		} else {
			uid, err := parseID(user)
			if err != nil {
				return nil, fmt.Errorf("cannot find user %s: no such name in %s", user, passwdFile)
			}
			if group == "" {
				return nil, fmt.Errorf("cannot tell the group of user %s: no such number in %s; give group as well", user, passwdFile)
			}
			a.Credential = Credential{UID: uid, GID: -1, Groups: []int{}}
		}
	}
	if group != "" {
		// name:password:gid:members
		gid, err := parseID(group)
		if entry := findEntry(groups, group, 4); entry != nil {
			gid, err = parseID(entry[2])
		}
		if err != nil {
			return nil, fmt.Errorf("cannot find group %s: no such name in %s", group, groupFile)
		}
		a.Credential.GID = gid
	}
	return a, nil
}

// findEntry finds the entry of a name, else that of a number, whose field is
// the third in both files; nil if there is none. Entries short of fields are
// passed over.
func findEntry(file, key string, fields int) []string {
	var byNumber []string
	for line := range strings.Lines(file) {
		entry := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(entry) < fields || entry[0] == "" || entry[0][0] == '#' {
			continue
		}
		if entry[0] == key {
			return entry
		}
		if byNumber == nil && entry[2] == key {
			byNumber = entry
		}
	}
	return byNumber
}

// memberships gives the groups that a user belongs to, the own one first.
func memberships(groups, name string, own int) []int {
	list := []int{own}
	for line := range strings.Lines(groups) {
		entry := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(entry) < 4 || entry[0] == "" || entry[0][0] == '#' {
			continue
		}
		gid, err := parseID(entry[2])
		if err != nil || gid == own {
			continue
		}
		for _, member := range strings.Split(entry[3], ",") {
			if member == name {
				list = append(list, gid)
				break
			}
		}
	}
	return list
}

// parseID reads a user's or group's number; the highest one is the kernel's
// "leave it".
func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n >= math.MaxUint32 {
		err = strconv.ErrRange
	}
	return int(n), err
}
