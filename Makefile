# Everything a developer runs. Each target is one script; the scripts do the work.
.PHONY: help setup test package demo bench clean

help: ## what can be done here
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1: \2/p' Makefile

setup: ## install what is missing: browsers, their drivers, wasm tools
	@.ci/setup

test: setup ## format, lints, and the tests in every place (PLACES=native,lint,... for a part)
	@.ci/test

package: ## build the npm package into pkg/ and print what it weighs
	@.ci/setup package
	@.ci/package

demo: ## native quickstart, then the page on 127.0.0.1 (DEMO_PORT sets the port)
	@.ci/setup demo
	@.ci/demo

bench: ## us and our peers side by side, natively and in two browsers; writes BENCHMARKS.md (BENCH=--quick: a glance, --long: more rows)
	@.ci/setup bench
	@.ci/bench $(BENCH)

clean: ## remove everything that was built or installed in this folder
	@.ci/clean
