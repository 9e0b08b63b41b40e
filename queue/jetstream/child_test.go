package jetstream_test

const childVariable = "JETSTREAM_TEST_CHILD"

func runChild(string) int { return 1 }
