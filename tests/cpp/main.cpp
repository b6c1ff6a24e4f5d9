// SPDX-License-Identifier: Apache-2.0
// Runs every TEST; the last line is "N passed, N failed" and the exit status says the same.
#include <exception>

#include "harness.h"

int main() {
    int failed = 0;
    for (const harness::Case& test : harness::cases()) {
        const int before = harness::failures();
        try {
            test.run();
        } catch (const std::exception& error) {
            harness::fail(test.name, 0, error.what());
        }
        if (harness::failures() != before) {
            std::printf("FAILED %s\n", test.name);
            ++failed;
        }
    }
    std::printf("%d passed, %d failed\n", static_cast<int>(harness::cases().size()) - failed, failed);
    return failed || harness::cases().empty() ? 1 : 0;
}
