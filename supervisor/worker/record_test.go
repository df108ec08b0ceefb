package worker

import (
	"encoding/json"
	"reflect"
	"testing"

	"supervisor/supervisor/state"
)

// Every field of a machine but its policy comes back, whatever is added to it later.
func TestAMachineIsWhatItsRecordSays(t *testing.T) {
	whole := Record{State: state.Killing, Want: state.Up, Inc: 3, Cause: Crashed, Trial: true, Failed: true,
		Soaked: true, Stable: true, Unstable: 4, Restarts: 5, EndCode: 6, EndSignal: 7, HasEnd: true}
	if v := reflect.ValueOf(whole); v.NumField() != reflect.TypeFor[Machine]().NumField()-1 {
		t.Fatal("a machine has fields that its record lacks")
	} else {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("the test leaves %s zero", v.Type().Field(i).Name)
			}
		}
	}
	text, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	var read Record
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	m, err := read.Machine(Policy{MaxRestarts: 16})
	if err != nil || m.Record() != whole || m.Policy.MaxRestarts != 16 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestARecordOfNoMachineIsAnError(t *testing.T) {
	for _, r := range []Record{{State: 9}, {Want: 2}, {Cause: 4}} {
		if _, err := r.Machine(Policy{}); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

func TestKindsHaveNamesOfTheirOwn(t *testing.T) {
	for _, k := range Kinds {
		if got, ok := KindNamed(k.String()); !ok || got != k {
			t.Errorf("%s is %d, not %d", k, got, k)
		}
	}
	if _, ok := KindNamed("tea"); ok {
		t.Error("a timer for tea")
	}
}
