// Package transactions copies records exactly once (consume, transform, produce) with unmodified clients, while the copier and the
// broker are killed: what is committed is the input, each record once and in its order. And Kafka's own tool looks at transactions.
package transactions
