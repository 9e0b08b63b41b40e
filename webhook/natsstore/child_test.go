package natsstore_test

const childVariable = "NATSSTORE_TEST_CHILD"

func runChild(string) int { return 1 }
