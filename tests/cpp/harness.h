// SPDX-License-Identifier: Apache-2.0
// The few lines the C++ tests need: TEST(name) { CHECK(...); CHECK_NEAR(a, b, tolerance); }
#pragma once

#include <cmath>
#include <cstdio>
#include <vector>

namespace harness {

struct Case {
    const char* name;
    void (*run)();
};

inline std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}

inline int& failures() {
    static int count = 0;
    return count;
}

inline bool add(const char* name, void (*run)()) {
    cases().push_back({name, run});
    return true;
}

inline void fail(const char* file, int line, const char* what) {
    std::printf("%s:%d: %s\n", file, line, what);
    ++failures();
}

}  // namespace harness

#define TEST(name)                                                      \
    static void test_##name();                                          \
    static const bool added_##name = harness::add(#name, &test_##name); \
    static void test_##name()

#define CHECK(condition)                                                              \
    do {                                                                              \
        if (!(condition)) harness::fail(__FILE__, __LINE__, "CHECK(" #condition ")"); \
    } while (false)

#define CHECK_NEAR(a, b, tolerance) CHECK(std::abs((a) - (b)) <= (tolerance))
