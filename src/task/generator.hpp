// What tests look at behind generators. Layer: task. Uses: context.
#pragma once

#include "context/stack.hpp"

namespace weft::detail {

/// All stacks of generators. Lives for ever.
StackPool& generator_stacks();

}  // namespace weft::detail
