// Package traps holds a test for every trap that real Kafka clients have fallen into with some broker: the X-lines of
// the contract. Each test is named by its trap, runs against the broker as a process, and speaks to it in bytes where a
// good client library would hide what matters. traps.md lists every trap with its test, or says what is to come first.
//
// TestHostileConversations goes through the same door with requests that are wrong in a thousand ways.
package traps
