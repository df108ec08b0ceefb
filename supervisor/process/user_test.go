package process

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

const (
	testPasswd = `root:x:0:0:root:/root:/bin/sh
# www:x:1:1::/:
short:x:5
www:x:33:34:web,,,:/var/www:/usr/sbin/nologin
bad:x:abc:1::/:/bin/sh
1000:x:7:8:a number for a name:/home/n:/bin/sh
`
	testGroup = `root:x:0:
www:x:34:root,other
logs:x:40:other,www
wwwx:x:41:wwwx
audio:x:42:www
broken
`
)

func TestLookupAccount(t *testing.T) {
	for _, c := range []struct {
		user, group string
		want        Account
		err         string
	}{
		{"www", "", Account{Credential{UID: 33, GID: 34, Groups: []int{34, 40, 42}}, "www", "/var/www"}, ""},
		{"33", "", Account{Credential{UID: 33, GID: 34, Groups: []int{34, 40, 42}}, "www", "/var/www"}, ""},
		{"www", "logs", Account{Credential{UID: 33, GID: 40, Groups: []int{34, 40, 42}}, "www", "/var/www"}, ""},
		{"www", "99", Account{Credential{UID: 33, GID: 99, Groups: []int{34, 40, 42}}, "www", "/var/www"}, ""},
		{"4242", "logs", Account{Credential{UID: 4242, GID: 40, Groups: []int{}}, "", ""}, ""},
		{"", "41", Account{Credential{UID: -1, GID: 41, Groups: nil}, "", ""}, ""},
		{"1000", "", Account{Credential{UID: 7, GID: 8, Groups: []int{8}}, "1000", "/home/n"}, ""},
		{"4242", "", Account{}, "cannot tell the group of user 4242: no such number in /etc/passwd; give group as well"},
		{"nobody-here", "", Account{}, "cannot find user nobody-here: no such name in /etc/passwd"},
		{"bad", "", Account{}, "malformed"},
		{"www", "nogroup-here", Account{}, "cannot find group nogroup-here: no such name in /etc/group"},
		{"-1", "logs", Account{}, "cannot find user -1"},
		{"4294967295", "logs", Account{}, "cannot find user 4294967295"},
		{"# www", "", Account{}, "cannot find user"},
	} {
		a, err := lookupAccount(c.user, c.group, testPasswd, testGroup)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %q: error %v, want %q", c.user, c.group, err, c.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(*a, c.want) {
			t.Errorf("%q, %q: %+v, %v; want %+v", c.user, c.group, a, err, c.want)
		}
	}
}

func TestLookupAccountOfThisMachine(t *testing.T) {
	if _, err := os.Stat(passwdFile); err != nil {
		t.Skip(err)
	}
	a, err := LookupAccount("root", "")
	if err != nil || a.Credential.UID != 0 || a.Name != "root" {
		t.Errorf("root is %+v, %v", a, err)
	}
}

func FuzzLookupAccount(f *testing.F) {
	f.Add("www", "logs", testPasswd, testGroup)
	f.Add("1", "", "::::::", ":::")
	f.Fuzz(func(t *testing.T, user, group, passwd, groups string) {
		a, err := lookupAccount(user, group, passwd, groups)
		if err == nil && user != "" && (a.Credential.UID < 0 || a.Credential.GID < 0) {
			t.Errorf("user %q, group %q: %+v", user, group, a)
		}
	})
}
