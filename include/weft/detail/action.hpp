#pragma once

#include <weft/detail/invoke.hpp>

#include <type_traits>
#include <utility>

namespace weft::detail {

/// A callable without arguments, kept for later and called any number of times;
/// or none. std::function<void()> without <functional>.
class Action {
public:
    Action() noexcept = default;

    /// Throws what its copy or move and the allocation throw.
    template <class F>
    requires(!std::is_same_v<std::decay_t<F>, Action> &&
             std::is_invocable_v<std::decay_t<F>&>) explicit Action(F&& callable)
        : callable_{new Kept<std::decay_t<F>>{std::forward<F>(callable)}} {}
    Action(const Action&) = delete;
    Action& operator=(const Action&) = delete;
    ~Action() { delete callable_; }

    explicit operator bool() const noexcept { return callable_ != nullptr; }
    void operator()() { callable_->call(); }

private:
    struct Callable {
        virtual ~Callable() = default;
        virtual void call() = 0;
    };
    template <class F>
    struct Kept final : Callable {
        template <class From>
        explicit Kept(From&& from) : function(std::forward<From>(from)) {}
        void call() override {
            function();
            come_back_here();
        }
        F function;
    };

    Callable* const callable_ = nullptr;
};

}  // namespace weft::detail
