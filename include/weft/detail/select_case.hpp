#pragma once

#include <weft/deadline.hpp>
#include <weft/detail/channel_core.hpp>
#include <weft/detail/export.hpp>
#include <weft/event.hpp>
#include <weft/fiber_ref.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace weft {

namespace detail {
class Selection;
}

/// One case of a select(), made by on_recv() and its like: where to wait, and what to
/// do then. It may be used again, by one select() at a time.
class WEFT_API SelectCase {
public:
    /// Not while it is used.
    SelectCase(SelectCase&&) noexcept {}
    SelectCase& operator=(SelectCase&&) = delete;
    virtual ~SelectCase();

protected:
    SelectCase() noexcept = default;

private:
    friend class detail::Selection;

    // See src/sync/select.hpp.
    virtual detail::SpinLock* lock() const noexcept;
    virtual void enlist(detail::Selection& selection) = 0;
    virtual bool begin(detail::Selection& selection);
    virtual bool settle();
    virtual void run() = 0;

    std::uint32_t drawn_ = 0;
    alignas(void*) std::byte branch_[96];
};

namespace detail {

class WEFT_API ChannelCase : public SelectCase {
protected:
    explicit ChannelCase(ChannelCore* channel) noexcept : channel_{channel} {}

    ChannelCore* const channel_;  // null: nil
    Meeting meeting_;             // its value: set by who has the place for it

private:
    SpinLock* lock() const noexcept final;
};

class WEFT_API ChannelSendCase : public ChannelCase {
protected:
    using ChannelCase::ChannelCase;

private:
    void enlist(Selection& selection) override;
    bool begin(Selection& selection) override;
    bool settle() override;
};

class WEFT_API ChannelRecvCase : public ChannelCase {
protected:
    using ChannelCase::ChannelCase;

private:
    void enlist(Selection& selection) override;
    bool begin(Selection& selection) override;
    bool settle() override;
};

class WEFT_API EventCase : public SelectCase {
protected:
    explicit EventCase(Event& event) noexcept : event_{event} {}

private:
    SpinLock* lock() const noexcept override;
    void enlist(Selection& selection) override;
    bool begin(Selection& selection) override;

    Event& event_;
};

class WEFT_API JoinCase : public SelectCase {
protected:
    explicit JoinCase(FiberRef fiber) noexcept : fiber_{std::move(fiber)} {}

private:
    SpinLock* lock() const noexcept override;
    void enlist(Selection& selection) override;
    bool begin(Selection& selection) override;

    FiberRef fiber_;
};

class WEFT_API AfterCase : public SelectCase {
protected:
    explicit AfterCase(Deadline deadline) noexcept : deadline_{deadline} {}

private:
    void enlist(Selection& selection) override;

    Deadline deadline_;
};

class WEFT_API OtherwiseCase : public SelectCase {
private:
    void enlist(Selection& selection) override;
};

}  // namespace detail
}  // namespace weft
