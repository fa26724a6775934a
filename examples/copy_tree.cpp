// Copies a tree of files, eight at once, each without a worker that waits for the disk.
#include <weft/weft.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace io = weft::io;

using Pairs = std::vector<std::pair<std::string, std::string>>;

// Makes the directories and returns the files to copy.
void copy_directories(const std::string& from, const std::string& to, Pairs& files) {
    io::make_directories(to);
    for (io::Directory all{from}; const auto& entry : all) {
        const std::string below = '/' + entry.name;
        if (entry.type == io::FileType::directory) {
            copy_directories(from + below, to + below, files);
        } else if (entry.type == io::FileType::symlink) {
            io::symlink(io::read_link(from + below), to + below);
        } else {
            files.emplace_back(from + below, to + below);
        }
    }
}

std::uint64_t copy_file(const std::string& from, const std::string& to) {
    auto source = io::File::open(from);
    const auto about = source.status();
    auto target = io::File::open(to, io::OpenMode::write | io::OpenMode::create, about.mode);
    return source.copy_range(0, about.size, target, 0);
}

int main() {
    weft::run([] {
        char folder[] = "/tmp/copy-tree-XXXXXX";
        const std::string from = ::mkdtemp(folder);
        const std::string to = from + ".copy";
        io::make_directories(from + "/poems/short");
        io::write_file(from + "/poems/short/one", "A pond, a frog, a splash.\n");
        io::write_file(from + "/list", std::string(1'000'000, '.'));
        io::symlink("poems/short", from + "/best");

        Pairs files;
        copy_directories(from, to, files);
        weft::FiberPool pool{8};
        std::uint64_t sum = 0;
        for (const auto bytes : pool.starmap(copy_file, files)) sum += bytes;
        std::printf("%zu files, %llu bytes\n", files.size(), (unsigned long long)sum);
        std::fputs(io::read_file(to + "/best/one").c_str(), stdout);
        for (const auto& each : {from, to}) std::filesystem::remove_all(each);
    });
}
