// What closing a descriptor of a file waits for. Layer: io. Uses: base, Linux.
//
// To ask a file system of another machine what kind it is would be to wait for that machine. So of
// a device without a disk (major number 0) nothing is known until a thread has closed a file of it.
#pragma once

#include <weft/detail/export.hpp>

#include <cstdint>

namespace weft::detail {

enum class FileClose : std::uint8_t {
    quick,          // or it is no file
    frees_much,     // the last descriptor of a large file without a name: its blocks are given back
    tells_machine,  // every descriptor: a server is told, and gets what it has not yet
};

/// Does not wait.
WEFT_API FileClose close_of_file(int fd) noexcept;

/// Looks at what kind of file system it is, for the next close_of_file(). May wait for a machine.
WEFT_API void learn_file_system(int fd) noexcept;

}  // namespace weft::detail
