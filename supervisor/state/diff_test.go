package state

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// fill sets every field of a struct to something that isn't zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint64:
		v.SetUint(1<<64 - 1)
	default:
		v.SetInt(7)
	}
}

// What the supervisor's successor reads is what was written.
func TestSpecsAndLaunchesAndReceiptsAreWhatTheirJSONSays(t *testing.T) {
	spec, launch, receipt := Spec{}, Launch{}, Receipt{StartedAt: time.Unix(1, 5).UTC()}
	fill(reflect.ValueOf(&spec).Elem())
	fill(reflect.ValueOf(&launch).Elem())
	fill(reflect.ValueOf(&receipt.Workers).Elem())
	for _, whole := range []any{&spec, &launch, &receipt} {
		text, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		read := reflect.New(reflect.TypeOf(whole).Elem()).Interface()
		if err := json.Unmarshal(text, read); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(whole, read) {
			t.Errorf("%s\nis read as %+v", text, read)
		}
	}
}

func TestAnEmptyListOrMapDiffersFromNoneInNothing(t *testing.T) {
	empty := Spec{Args: []string{}, Env: map[string]string{}, StopExitCodes: []int{}, Listen: []Listen{},
		FilterEnv: FilterEnv{Contains: []string{}}}
	if keys := Diff(empty, Spec{}); keys != nil {
		t.Errorf("%q", keys)
	}
	other := Spec{Args: []string{""}, FilterEnv: FilterEnv{All: true}}
	if keys := Diff(empty, other); len(keys) != 2 {
		t.Errorf("%q", keys)
	}
}
