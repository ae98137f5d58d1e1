//go:build plant

package plant

var planted string // set by the linker: -X github.com/moldau/moldau/internal/kit/plant.planted=NAME

// Has reports whether a bug is planted.
func Has(b Bug) bool { return planted == string(b) }
