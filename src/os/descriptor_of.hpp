// DescriptorOf: the way to the Descriptor of a class of this room, for functions that work
// on two of them. Layer: os. Uses: nothing.
#pragma once

#include "os/call.hpp"

namespace weft::io::detail {

struct DescriptorOf {
    template <class End>
    static Descriptor& get(const End& end) noexcept {
        return end.descriptor_;
    }
};

}  // namespace weft::io::detail
