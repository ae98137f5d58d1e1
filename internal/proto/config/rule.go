package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A rule is what a key asks of its value beyond the type. check gets the canonical form.
type rule struct {
	text  string
	check func(t Type, value string) error
}

// anything is the rule of a key whose type says it all.
var anything = rule{}

// canonical checks value against the type and returns its canonical form.
func (t Type) canonical(value string) (string, error) {
	value = strings.TrimSpace(value)
	switch t {
	case TypeBoolean:
		lower := strings.ToLower(value)
		if lower != "true" && lower != "false" {
			return "", errors.New("must be true or false")
		}
		return lower, nil
	case TypeShort:
		return integer(value, 16)
	case TypeInt:
		return integer(value, 32)
	case TypeLong:
		return integer(value, 64)
	case TypeDouble:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return "", errors.New("must be a number")
		}
		return formatDouble(f), nil
	case TypeList:
		return strings.Join(unique(splitList(value)), ","), nil
	}
	return value, nil
}

func integer(value string, bits int) (string, error) {
	n, err := strconv.ParseInt(value, 10, bits)
	if errors.Is(err, strconv.ErrRange) {
		limit := uint64(1) << (bits - 1)
		return "", fmt.Errorf("must be a whole number from -%d to %d", limit, limit-1)
	}
	if err != nil {
		return "", errors.New("must be a whole number")
	}
	return strconv.FormatInt(n, 10), nil
}

// formatDouble writes f the way Java does, which clients compare: always a decimal point, E for exponents.
func formatDouble(f float64) string {
	if abs := math.Abs(f); f == 0 || abs >= 1e-3 && abs < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'E', -1, 64), "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent) // FormatFloat wrote it
	return mantissa + "E" + strconv.Itoa(n)
}

// splitList splits a list at its commas; an empty value is an empty list.
func splitList(value string) []string {
	value = strings.TrimSpace(value)
	if value == "" {
		return nil
	}
	elements := strings.Split(value, ",")
	for i := range elements {
		elements[i] = strings.TrimSpace(elements[i])
	}
	return elements
}

// unique drops elements that stood before, in place.
func unique(elements []string) []string {
	kept := elements[:0]
	for _, e := range elements {
		if !slices.Contains(kept, e) {
			kept = append(kept, e)
		}
	}
	return kept
}

func atLeast(least int64) rule { return between(least, math.MaxInt64) }

func between(least, most int64) rule {
	text := fmt.Sprintf("%d to %d", least, most)
	if most == math.MaxInt64 {
		text = fmt.Sprintf("at least %d", least)
	}
	return rule{text, func(_ Type, value string) error {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < least || n > most {
			return fmt.Errorf("must be %s", text)
		}
		return nil
	}}
}

// unlimitedOr takes -1 for no limit, and what is not less than least.
func unlimitedOr(least int64) rule {
	text := fmt.Sprintf("-1 or at least %d", least)
	return rule{text, func(_ Type, value string) error {
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n != -1 && n < least {
			return fmt.Errorf("must be %s", text)
		}
		return nil
	}}
}

func fraction(least, most float64) rule {
	text := fmt.Sprintf("%g to %g", least, most)
	return rule{text, func(_ Type, value string) error {
		if f, err := strconv.ParseFloat(value, 64); err != nil || f < least || f > most {
			return fmt.Errorf("must be %s", text)
		}
		return nil
	}}
}

// oneOf lists the allowed values, or those of each element of a list.
func oneOf(allowed ...string) rule {
	return enumeration(allowed, func(a, b string) bool { return a == b })
}

func oneOfFold(allowed ...string) rule { return enumeration(allowed, strings.EqualFold) }

func enumeration(allowed []string, equal func(a, b string) bool) rule {
	text := strings.Join(allowed, ", ")
	return rule{text, func(t Type, value string) error {
		elements := []string{value}
		if t == TypeList {
			elements = splitList(value)
		}
		for _, e := range elements {
			if !slices.ContainsFunc(allowed, func(a string) bool { return equal(a, e) }) {
				return fmt.Errorf("%q is none of: %s", clip(e), text)
			}
		}
		return nil
	}}
}

// notEmpty, and further rules of single keys.
var (
	notEmpty = rule{"not empty", func(_ Type, value string) error {
		if value == "" {
			return errors.New("must not be empty")
		}
		return nil
	}}
	gzipLevel = rule{"-1 or 1 to 9", func(_ Type, value string) error {
		if n, err := strconv.Atoi(value); err != nil || n != -1 && (n < 1 || n > 9) {
			return errors.New("must be -1 or 1 to 9")
		}
		return nil
	}}
	endpoints = rule{"NAME://host:port, …", func(_ Type, value string) error {
		_, err := parseEndpoints(value)
		return err
	}}
	protocolMap = rule{"NAME:PROTOCOL, …", func(_ Type, value string) error {
		_, err := parseProtocolMap(value)
		return err
	}}
	voters = rule{"id@host:port, …", func(_ Type, value string) error {
		_, err := parseVoters(value)
		return err
	}}
	servers = rule{"host:port, …", func(_ Type, value string) error {
		for _, server := range splitList(value) {
			if _, _, err := splitHostPort(server); err != nil {
				return err
			}
		}
		return nil
	}}
	httpAddress = rule{"host:port or empty", func(_ Type, value string) error {
		if value == "" {
			return nil
		}
		_, _, err := splitHostPort(value)
		return err
	}}
	ipOverrides = rule{"address:count, …", func(_ Type, value string) error {
		_, err := parseIPOverrides(value)
		return err
	}}
	throttledReplicas = rule{"partition:broker, … or *", checkThrottledReplicas}
	offsetReset       = rule{"latest, earliest or by_duration:PnDTnHnMnS", checkOffsetReset}
	clientMatch       = rule{"property=expression, …", checkClientMatch}
)

// splitHostPort splits host:port, with an IPv6 host in brackets. The host may be empty.
func splitHostPort(address string) (host string, port int32, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not of the form host:port", clip(address))
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no port from 0 to 65535", clip(address))
	}
	return host, int32(n), nil
}

// parseIPOverrides reads address:count pairs; the count stands behind the last colon, so IPv6 addresses need no brackets.
func parseIPOverrides(value string) (map[string]int32, error) {
	counts := make(map[string]int32)
	for _, pair := range splitList(value) {
		i := strings.LastIndexByte(pair, ':')
		if i <= 0 {
			return nil, fmt.Errorf("%q is not of the form address:count", clip(pair))
		}
		n, err := strconv.ParseUint(strings.TrimSpace(pair[i+1:]), 10, 31)
		if err != nil {
			return nil, fmt.Errorf("%q has no count from 0 on", clip(pair))
		}
		address, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(pair[:i]), "[]"))
		if err != nil {
			return nil, fmt.Errorf("%q has no IP address before the count; names are not looked up", clip(pair))
		}
		counts[address.Unmap().String()] = int32(n)
	}
	return counts, nil
}

func checkThrottledReplicas(_ Type, value string) error {
	if value == "*" {
		return nil
	}
	for _, pair := range splitList(value) {
		partition, broker, ok := strings.Cut(pair, ":")
		_, errPartition := strconv.ParseUint(partition, 10, 31)
		_, errBroker := strconv.ParseUint(broker, 10, 31)
		if !ok || errPartition != nil || errBroker != nil {
			return fmt.Errorf("%q is not of the form partition:broker", clip(pair))
		}
	}
	return nil
}

// isoDuration is ISO 8601 as java.time.Duration reads it, without signs.
var isoDuration = regexp.MustCompile(`^(?i)P(\d+D)?(T(\d+H)?(\d+M)?(\d+([.,]\d{0,9})?S)?)?$`)

func checkOffsetReset(_ Type, value string) error {
	period, byDuration := strings.CutPrefix(value, "by_duration:")
	switch {
	case value == "latest", value == "earliest":
		return nil
	case byDuration && isoDuration.MatchString(period) && strings.ContainsAny(period, "0123456789") &&
		!strings.HasSuffix(strings.ToUpper(period), "T"):
		return nil
	}
	return errors.New("must be latest, earliest, or by_duration: and an ISO 8601 period such as PT1H30M")
}

// clientProperties are what a subscription to client metrics can select by (C-36).
var clientProperties = []string{"client_instance_id", "client_id", "client_software_name", "client_software_version",
	"client_source_address", "client_source_port"}

func checkClientMatch(_ Type, value string) error {
	for _, pattern := range splitList(value) {
		property, expression, ok := strings.Cut(pattern, "=")
		if !ok {
			return fmt.Errorf("%q is not of the form property=expression", clip(pattern))
		}
		if !slices.Contains(clientProperties, strings.TrimSpace(property)) {
			return fmt.Errorf("%q is none of: %s", clip(property), strings.Join(clientProperties, ", "))
		}
		if _, err := regexp.Compile(strings.TrimSpace(expression)); err != nil {
			return fmt.Errorf("the expression for %s: %w", property, err)
		}
	}
	return nil
}
