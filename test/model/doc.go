// Package model holds the end-to-end tests of releases of models: the real
// daemon and its proxy, the sample model server and the digits example, asked by
// raw sockets, by OpenAI's own client and by the examples' own users.
//
// HALDANE_E2E=1 adds what takes minutes or needs node and scikit-learn.
// Bad input is observed as such, and the user's bytes are neither changed nor
// delayed. Which test proves it:
//
//	half an event, wrong type, not JSON     TestBytesPassUnchanged (traffic/embedded), inference.TestFacts
//	invalid UTF-8                           the same
//	a line of 50 MiB                        TestALineOf50MiB (traffic/embedded), inference.TestEndlessLine
//	gzip, br, what is neither               TestBytesPassUnchanged, inference.TestCompressed
//	an answer that never ends               TestClientLeaves (traffic/embedded), proxy.TestHangingRequestIsToldOnceAndItsEnd
//	a client that leaves                    TestClientLeaves, TestUsersWhoLeaveAreJudged
//	feedback on an unknown request          proxy.TestFeedbackIsTaken, telemetry.TestFeedbackFindsTheVersion
//	an evaluator that hangs, lies or talks  evaluator.TestEvaluatorsAtFault, TestEvaluatorsThatLie, TestSilenceProvesNothing
//	any bytes at all                        inference.FuzzStream and its neighbours
//
// Read harness_test.go.
package model
