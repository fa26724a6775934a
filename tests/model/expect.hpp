// What the tests here say about a program: that it keeps its promises, or that
// a planted bug is found.
// Layer: tests. Uses: model, Catch2.
#pragma once

#include "model/model.hpp"
#include "support/catch.hpp"

namespace model {

/// Every explored schedule keeps the promises; else shows the one that did not.
template <class Program>
void expect_kept(const char* name) {
    const Subject subject = subject_of<Program>();
    const auto failure = verify(name, subject);
    if (failure) FAIL(failure->sentence << "\n" << narrate(subject, *failure));
    SUCCEED();
}

/// Some strategy finds the planted bug, and finds it again by the same seed.
template <class Program>
void expect_found(const char* name) {
    const Subject subject = subject_of<Program>();
    const auto failure = hunt(name, subject);
    REQUIRE(failure.has_value());
    REQUIRE(replay(subject, *failure) == failure->sentence);
    REQUIRE(replay(subject, *failure) == failure->sentence);
}

}  // namespace model
