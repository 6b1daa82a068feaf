// Package action tests deploy/action, the GitHub action, by running its very
// scripts: real kubectl, the built haldane, the controller and an API server;
// only the pods are made up. Read action_test.go first.
package action
