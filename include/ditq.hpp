/*
 * ditq.hpp — ditq.h for C++17: handles that close themselves, options with their defaults, views that know their sizes, errors that are thrown.
 *
 *     auto model = ditq::Model::open("emoji.ditq");
 *     auto session = ditq::Session::create(model);
 *     session.generate(model.find_class("red apple"), 7).save("apple.png");
 *
 * Header only, over the C interface, whose comments say what everything means; so it works with any later libditq.so.1.
 *
 *   - Model, Session, Run, Report and Linear are move-only and own what the library made; get() lends the C handle.
 *   - A call that fails throws ditq::Error. Without exceptions (-fno-exceptions, or DITQ_NO_EXCEPTIONS defined before including) the same
 *     functions return ditq::Result<T> instead: `if (auto model = ditq::Model::open(path)) use(*model); else puts(model.error().what());`
 *   - Options are the C structs with struct_size and the library's defaults in place: ditq::GenerateOptions o; o.steps = 20;
 *   - Sizes of arrays are checked against the model before the library reads or writes them.
 */
#ifndef DITQ_HPP
#define DITQ_HPP

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "ditq.h"

#if !defined(DITQ_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define DITQ_NO_EXCEPTIONS 1
#endif

namespace ditq {
#ifdef DITQ_NO_EXCEPTIONS
inline namespace returning { /* files that are compiled in different ways may be linked together */
#else
inline namespace throwing {
#endif

/* ---- Errors ------------------------------------------------------------------------------------------------------------- */

/* What a failed call answered: a DITQ_… status, and a sentence that names what was found and what was expected. */
class Error : public std::exception {
 public:
  explicit Error(const ditq_error& error) : status_(error.status), message_(std::make_shared<std::string>(error.message)) {}
  Error(ditq_status status, std::string message) : status_(status), message_(std::make_shared<std::string>(std::move(message))) {}
  ditq_status status() const noexcept { return status_; }
  const char* status_name() const noexcept { return ditq_status_name(status_); }
  const char* what() const noexcept override { return message_->c_str(); }

 private:
  ditq_status status_;
  std::shared_ptr<const std::string> message_; /* copying an exception may not throw */
};

#ifndef DITQ_NO_EXCEPTIONS
template <class T>
using Result = T;
#else
/* A value or an Error. Asking for the one that is not there ends the program. */
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::move(value)) {}
  Result(Error error) : content_(std::move(error)) {}
  explicit operator bool() const noexcept { return content_.index() == 0; }
  T& value() & { return *check(std::get_if<0>(&content_)); }
  const T& value() const& { return *check(std::get_if<0>(&content_)); }
  T&& value() && { return std::move(value()); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(value()); }
  T* operator->() { return &value(); }
  const T& operator*() const& { return value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return *check(std::get_if<1>(&content_)); }

 private:
  template <class Pointer>
  static Pointer check(Pointer pointer) { return pointer ? pointer : (std::abort(), pointer); }
  std::variant<T, Error> content_;
};
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  explicit operator bool() const noexcept { return !error_; }
  const Error& error() const { return error_ ? *error_ : (std::abort(), *error_); }

 private:
  std::optional<Error> error_;
};
#endif

/* ---- Views and options -------------------------------------------------------------------------------------------------- */

/* A view of elements that someone else keeps: made from a vector, an array or anything with data() and size(). */
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr Span(T (&array)[N]) noexcept : data_(array), size_(N) {}
  template <class Container, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<Container&>().data()), T*>>>
  constexpr Span(Container&& container) noexcept : data_(container.data()), size_(container.size()) {}
  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
  constexpr T* begin() const noexcept { return data_; }
  constexpr T* end() const noexcept { return data_ + size_; }
  constexpr T& operator[](std::size_t index) const { return data_[index]; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/* Told how far a call is, on the thread that made it; false ends the call with DITQ_CANCELLED. What it throws comes out of the call. */
using OnProgress = std::function<bool(const ditq_progress&)>;

/* The fields of the C structs, with their defaults; on_progress stands for `progress` and `progress_context`. */
struct ModelOptions : ditq_model_options {
  ModelOptions() : ditq_model_options{} { struct_size = sizeof(ditq_model_options); }
  OnProgress on_progress;
};
struct SessionOptions : ditq_session_options {
  SessionOptions() : ditq_session_options{} { struct_size = sizeof(ditq_session_options); }
};
struct GenerateOptions : ditq_generate_options { /* careful: noise must hold [count, channels, height, width] */
  GenerateOptions() : ditq_generate_options{} { struct_size = sizeof(ditq_generate_options), ditq_generate_options_init(this); }
  OnProgress on_progress;
};
struct LayerRule : ditq_layer_rule { /* the pattern is not copied */
  LayerRule(const char* layers, int32_t bits, int32_t group = -1, int32_t activations = 0) : ditq_layer_rule{} {
    struct_size = sizeof(ditq_layer_rule), pattern = layers, weight_bits = bits, weight_group = group, activation_bits = activations;
  }
};
static_assert(sizeof(LayerRule) == sizeof(ditq_layer_rule), "an array of rules is an array of the C struct");
struct QuantizeOptions : ditq_quantize_options {
  QuantizeOptions() : ditq_quantize_options{} { struct_size = sizeof(ditq_quantize_options), ditq_quantize_options_init(this); }
  std::vector<LayerRule> layer_rules; /* stands for `rules` and `rule_count`; the last match wins */
  OnProgress on_progress;
};
struct CompareOptions : ditq_compare_options {
  CompareOptions() : ditq_compare_options{} { struct_size = sizeof(ditq_compare_options); }
  OnProgress on_progress;
};
struct LinearOptions : ditq_linear_options {
  LinearOptions() : ditq_linear_options{} { struct_size = sizeof(ditq_linear_options); }
};

/* ---- How calls are made ------------------------------------------------------------------------------------------------- */

namespace detail {

/* The result of a call: value() where work(&error) returned DITQ_OK, else the error, thrown or returned. */
template <class Work, class Value>
auto call(Work work, Value value) -> Result<decltype(value())> {
  ditq_error error = DITQ_ERROR_INIT;
  if (work(&error) != DITQ_OK) {
#ifndef DITQ_NO_EXCEPTIONS
    throw Error(error);
  }
  return value();
#else
    return Error(error);
  }
  if constexpr (std::is_void_v<decltype(value())>) return {};
  else return value();
#endif
}
template <class Work>
Result<void> call(Work work) {
  return call(work, [] {});
}

/* What a function fills a buffer with, which is called once to learn the size and once for the contents. */
template <class Buffer, class Fill>
Result<Buffer> filled(Fill fill) {
  Buffer buffer;
  return call(
      [&](ditq_error* error) {
        std::size_t needed = 0;
        ditq_status status = fill(nullptr, std::size_t{0}, &needed, error);
        if (status != DITQ_OK) return status;
        buffer.resize(needed);
        status = fill(buffer.data(), needed, &needed, error);
        buffer.resize(needed);
        return status;
      },
      [&] { return std::move(buffer); });
}
template <class Describe, class C>
Result<std::string> text(Describe describe, const C* handle) {
  return filled<std::string>([&](char* buffer, std::size_t capacity, std::size_t* needed, ditq_error* error) {
    const ditq_status status = describe(handle, buffer, capacity, needed, error);
    if (buffer) *needed -= 1; /* the NUL */
    return status;
  });
}

/* DITQ_OK where an array has the elements that it must have. */
inline ditq_status expect(const char* name, std::size_t found, std::size_t expected, ditq_error* error) {
  if (found == expected) return DITQ_OK;
  const std::string message = std::string(name) + ": " + std::to_string(expected) + " elements expected, " + std::to_string(found) + " found";
  error->status = DITQ_INVALID_ARGUMENT;
  std::strncpy(error->message, message.c_str(), sizeof error->message - 1);
  return error->status;
}

/* DITQ_OK where C sees all of a text: it ends at the first NUL. */
inline ditq_status expect_text(const char* name, const std::string& text, ditq_error* error) {
  const std::size_t end = text.find('\0');
  if (end == std::string::npos) return DITQ_OK;
  const std::string message = std::string(name) + ": a text without NUL expected, one found at byte " + std::to_string(end);
  error->status = DITQ_INVALID_ARGUMENT;
  std::strncpy(error->message, message.c_str(), sizeof error->message - 1);
  return error->status;
}

/* Carries OnProgress through the C callback, which no exception may leave. */
class Hook {
 public:
  explicit Hook(OnProgress on_progress) : on_progress_(std::move(on_progress)) {}
  template <class Options>
  void attach(Options& options) {
    if (on_progress_) options.progress = &Hook::report, options.progress_context = this;
  }
  /* Passes a status on, or throws what OnProgress threw. */
  ditq_status after(ditq_status status) {
#ifndef DITQ_NO_EXCEPTIONS
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
#endif
    return status;
  }

 private:
  static std::int32_t report(void* context, const ditq_progress* progress) {
    auto& hook = *static_cast<Hook*>(context);
#ifndef DITQ_NO_EXCEPTIONS
    try {
      return hook.on_progress_(*progress) ? 0 : 1;
    } catch (...) {
      hook.thrown_ = std::current_exception();
      return 1;
    }
#else
    return hook.on_progress_(*progress) ? 0 : 1;
#endif
  }
  OnProgress on_progress_;
#ifndef DITQ_NO_EXCEPTIONS
  std::exception_ptr thrown_;
#endif
};

/* Owns a C handle. */
template <class C, void (*destroy)(C*)>
class Handle {
 public:
  C* get() const noexcept { return pointer_.get(); }

 protected:
  explicit Handle(C* pointer) : pointer_(pointer) {}

 private:
  struct Destroy {
    void operator()(C* pointer) const { destroy(pointer); }
  };
  std::unique_ptr<C, Destroy> pointer_;
};

} /* namespace detail */

/* ---- Pictures ----------------------------------------------------------------------------------------------------------- */

using Texts = std::vector<std::pair<std::string, std::string>>; /* key and text of a PNG file's text chunks */

/* Pixels [height, width, channels], 0 … 255; channels is 1 (grey), 3 (RGB) or 4 (RGBA). */
struct Image {
  std::int32_t width = 0, height = 0, channels = 0;
  std::vector<std::uint8_t> pixels;

  /* Writes a PNG file, whole or not at all. */
  Result<void> save(const std::string& path, const Texts& texts = {}) const {
    const auto chunks = c_texts(texts);
    return detail::call([&](ditq_error* error) {
      if (const auto status = detail::expect_text("path", path, error)) return status;
      if (const auto status = expect_whole(texts, error)) return status;
      return ditq_png_write(path.c_str(), pixels.data(), width, height, channels, chunks.data(), chunks.size(), error);
    });
  }
  /* The same as the bytes of a PNG file. */
  Result<std::vector<std::uint8_t>> png(const Texts& texts = {}) const {
    const auto chunks = c_texts(texts);
    return detail::filled<std::vector<std::uint8_t>>([&](void* buffer, std::size_t capacity, std::size_t* needed, ditq_error* error) {
      if (const auto status = expect_whole(texts, error)) return status;
      return ditq_png_encode(pixels.data(), width, height, channels, chunks.data(), chunks.size(), buffer, capacity, needed, error);
    });
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * static_cast<std::size_t>(channels); }
  ditq_status expect_whole(const Texts& texts, ditq_error* error) const {
    for (const auto& [key, text] : texts) {
      if (const auto status = detail::expect_text("key", key, error)) return status;
      if (const auto status = detail::expect_text("text", text, error)) return status;
    }
    return detail::expect("pixels", pixels.size(), size(), error);
  }
  static std::vector<ditq_png_text> c_texts(const Texts& texts) {
    std::vector<ditq_png_text> chunks;
    for (const auto& text : texts) chunks.push_back({text.first.c_str(), text.second.c_str()});
    return chunks;
  }
};

/* ---- Models ------------------------------------------------------------------------------------------------------------- */

/* Immutable: any number of threads may share one, and sessions outlive it. */
class Model : public detail::Handle<ditq_model, ditq_model_close> {
 public:
  /* A .ditq file, a diffusers directory, a safetensors or .pt checkpoint. */
  static Result<Model> open(const std::string& path, const ModelOptions& options = {}) {
    return made(options, [&](const auto* c, auto** model, auto* error) {
      if (const auto status = detail::expect_text("path", path, error)) return status;
      return ditq_model_open(path.c_str(), c, model, error);
    });
  }
  /* The bytes of one such file, which the caller keeps until the model, and every session, run and quantized model that was made from it, is gone. */
  static Result<Model> open_memory(Span<const std::uint8_t> bytes, const ModelOptions& options = {}) {
    return made(options, [&](const auto* c, auto** model, auto* error) { return ditq_model_open_memory(bytes.data(), bytes.size(), c, model, error); });
  }
  static Result<Model> open_memory(std::vector<std::uint8_t>&&, const ModelOptions& = {}) = delete; /* gone before it is used */
  /* The same through a reader, which may be gone afterwards: the bytes are copied. */
  static Result<Model> open_reader(const ditq_reader& reader, const ModelOptions& options = {}) {
    return made(options, [&](const auto* c, auto** model, auto* error) { return ditq_model_open_reader(&reader, c, model, error); });
  }
  /* A model of 8- or 4-bit weights, made from this float one. */
  Result<Model> quantize(const QuantizeOptions& options = {}) const {
    return made(options, [&](const ditq_quantize_options* given, auto** model, auto* error) {
      ditq_quantize_options c = *given;
      if (!options.layer_rules.empty()) c.rules = options.layer_rules.data(), c.rule_count = options.layer_rules.size();
      return ditq_quantize(get(), &c, model, error);
    });
  }
  Result<void> save(const std::string& path) const {
    return detail::call([&](ditq_error* error) {
      if (const auto status = detail::expect_text("path", path, error)) return status;
      return ditq_model_save(get(), path.c_str(), error);
    });
  }
  Result<void> verify() const {
    return detail::call([&](ditq_error* error) { return ditq_model_verify(get(), error); });
  }
  Result<ditq_model_info> describe() const {
    ditq_model_info info{};
    info.struct_size = sizeof info;
    return detail::call([&](ditq_error* error) { return ditq_model_describe(get(), &info, error); }, [&] { return info; });
  }
  Result<std::string> json() const {
    return detail::text(ditq_model_describe_json, get());
  }
  /* Nothing where the model names no such label. */
  std::optional<std::string> class_name(std::int32_t label) const {
    const char* name = ditq_model_class_name(get(), label);
    return name ? std::optional<std::string>(name) : std::nullopt;
  }
  Result<std::int32_t> find_class(const std::string& name) const {
    std::int32_t label = 0;
    return detail::call(
        [&](ditq_error* error) {
          if (const auto status = detail::expect_text("name", name, error)) return status;
          return ditq_model_find_class(get(), name.c_str(), &label, error);
        },
        [&] { return label; });
  }

 private:
  explicit Model(ditq_model* model) : Handle(model) {}
  template <class Options, class Make>
  static Result<Model> made(Options options, Make make) {
    ditq_model* model = nullptr;
    detail::Hook hook(options.on_progress);
    hook.attach(options);
    return detail::call([&](ditq_error* error) { return hook.after(make(&options, &model, error)); }, [&] { return Model(model); });
  }
};

/* ---- What quantization cost --------------------------------------------------------------------------------------------- */

class Report : public detail::Handle<ditq_report, ditq_report_destroy> {
 public:
  /* Measures a model against a reference, on the same noise. */
  static Result<Report> compare(const Model& reference, const Model& model, const CompareOptions& options = {}) {
    ditq_report* report = nullptr;
    ditq_compare_options c = options;
    detail::Hook hook(options.on_progress);
    hook.attach(c);
    return detail::call([&](ditq_error* error) { return hook.after(ditq_compare(reference.get(), model.get(), &c, &report, error)); },
                        [&] { return Report(report); });
  }
  /* Of the predicted noise, in dB: over all steps together, or of one; NaN for one that was not taken. */
  double sqnr_db(std::int32_t step = -1) const { return ditq_report_sqnr_db(get(), step); }
  /* Valid while the report is there. */
  const char* json() const { return ditq_report_json(get()); }
  const char* csv() const { return ditq_report_csv(get()); }

 private:
  explicit Report(ditq_report* report) : Handle(report) {}
};

/* ---- Sessions ----------------------------------------------------------------------------------------------------------- */

/* Working memory and threads of a model. Serves one call at a time; cancel() alone may be called meanwhile. Generating into a Span allocates nothing. */
class Session : public detail::Handle<ditq_session, ditq_session_destroy> {
 public:
  static Result<Session> create(const Model& model, const SessionOptions& options = {}) {
    ditq_session* session = nullptr;
    ditq_model_info info{};
    info.struct_size = sizeof info;
    return detail::call(
        [&](ditq_error* error) {
          if (const ditq_status status = ditq_model_describe(model.get(), &info, error)) return status;
          return ditq_session_create(model.get(), &options, &session, error);
        },
        [&] { return Session(session, info); });
  }
  /* Exactly how many bytes such a session works in. */
  static Result<std::size_t> memory(const Model& model, const SessionOptions& options = {}) {
    std::size_t size = 0;
    return detail::call([&](ditq_error* error) { return ditq_session_memory(model.get(), &options, &size, error); }, [&] { return size; });
  }
  /* From any thread or a signal handler: the call in progress ends soon, with DITQ_CANCELLED. */
  void cancel() const noexcept { ditq_session_cancel(get()); }
  Result<std::string> json() const {
    return detail::text(ditq_session_describe_json, get());
  }
  /* Elements of one image, of its latents. */
  std::size_t image_size() const noexcept { return product(info_.image_height, info_.image_width, info_.image_channels); }
  std::size_t latent_size() const noexcept { return product(info_.latent_channels, info_.latent_height, info_.latent_width); }

  /* One picture. */
  Result<Image> generate(std::int32_t label, std::uint64_t seed, const GenerateOptions& options = {}) {
    Image image{info_.image_width, info_.image_height, info_.image_channels, std::vector<std::uint8_t>(image_size())};
    return detail::call(
        [&](ditq_error* error) {
          return sampled(ditq_generate, Span<const std::int32_t>(&label, 1), Span<const std::uint64_t>(&seed, 1), options,
                         Span<std::uint8_t>(image.pixels), image_size(), error);
        },
        [&] { return std::move(image); });
  }
  /* labels [count], seeds [count] → pixels [count, height, width, channels]. Seeds may be empty with options.noise and a sampler without noise. */
  Result<void> generate(Span<const std::int32_t> labels, Span<const std::uint64_t> seeds, Span<std::uint8_t> pixels, const GenerateOptions& options = {}) {
    return detail::call([&](ditq_error* error) { return sampled(ditq_generate, labels, seeds, options, pixels, image_size(), error); });
  }
  /* The same, stopping before the decoder: latents [count, channels, height, width]. */
  Result<void> denoise(Span<const std::int32_t> labels, Span<const std::uint64_t> seeds, Span<float> latents, const GenerateOptions& options = {}) {
    return detail::call([&](ditq_error* error) { return sampled(ditq_denoise, labels, seeds, options, latents, latent_size(), error); });
  }
  /* Latents to pixels. */
  Result<void> decode(Span<const float> latents, Span<std::uint8_t> pixels) { return decoded(ditq_decode, latents, pixels); }
  /* The same before rounding: 0 … 1 nominally and not clamped. */
  Result<void> decode(Span<const float> latents, Span<float> values) { return decoded(ditq_decode_float, latents, values); }
  /* One call of the transformer, without guidance: x [count, channels, height, width], timesteps [count], labels [count] → output [count, output channels, …]. */
  Result<void> predict(Span<const float> x, Span<const float> timesteps, Span<const std::int32_t> labels, Span<float> output) {
    return detail::call([&](ditq_error* error) {
      if (const auto status = detail::expect("x", x.size(), labels.size() * latent_size(), error)) return status;
      if (const auto status = detail::expect("timesteps", timesteps.size(), labels.size(), error)) return status;
      return ditq_predict(get(), x.data(), timesteps.data(), labels.data(), labels.size(), output.data(), output.size_bytes(), error);
    });
  }

 private:
  Session(ditq_session* session, const ditq_model_info& info) : Handle(session), info_(info) {}
  static std::size_t product(std::int32_t a, std::int32_t b, std::int32_t c) noexcept {
    return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
  }
  template <class Function, class T>
  ditq_status sampled(Function function, Span<const std::int32_t> labels, Span<const std::uint64_t> seeds, const GenerateOptions& options, Span<T> output,
                      std::size_t size, ditq_error* error) {
    if (const auto status = detail::expect("seeds", seeds.size(), seeds.size() ? labels.size() : 0, error)) return status;
    if (const auto status = detail::expect("output", output.size(), labels.size() * size, error)) return status;
    ditq_generate_options c = options;
    detail::Hook hook(options.on_progress);
    hook.attach(c);
    return hook.after(function(get(), labels.data(), seeds.data(), labels.size(), &c, output.data(), output.size_bytes(), error));
  }
  template <class Function, class T>
  Result<void> decoded(Function function, Span<const float> latents, Span<T> output) {
    return detail::call([&](ditq_error* error) {
      const std::size_t count = latent_size() ? latents.size() / latent_size() : 0;
      if (const auto status = detail::expect("latents", latents.size(), count * latent_size(), error)) return status;
      return function(get(), latents.data(), count, output.data(), output.size_bytes(), error);
    });
  }
  ditq_model_info info_;
};

/* ---- One step at a time ------------------------------------------------------------------------------------------------- */

/* A denoising under way. Belongs to no session: pass any session of the same model. Serves one call at a time. */
class Run : public detail::Handle<ditq_run, ditq_run_destroy> {
 public:
  /* Arguments as for Session::denoise. */
  static Result<Run> create(const Model& model, Span<const std::int32_t> labels, Span<const std::uint64_t> seeds, const GenerateOptions& options = {}) {
    ditq_run* run = nullptr;
    auto hook = std::make_unique<detail::Hook>(options.on_progress);
    ditq_generate_options c = options;
    hook->attach(c);
    return detail::call(
        [&](ditq_error* error) {
          if (const auto status = detail::expect("seeds", seeds.size(), seeds.size() ? labels.size() : 0, error)) return status;
          return ditq_run_create(model.get(), labels.data(), seeds.data(), labels.size(), &c, &run, error);
        },
        [&] { return Run(run, std::move(hook)); });
  }
  /* The run that save() gave, on a model of the same architecture and settings. */
  static Result<Run> restore(const Model& model, Span<const std::uint8_t> saved) {
    ditq_run* run = nullptr;
    return detail::call([&](ditq_error* error) { return ditq_run_restore(model.get(), saved.data(), saved.size(), &run, error); },
                        [&] { return Run(run, std::make_unique<detail::Hook>(nullptr)); });
  }
  /* One sampling step; how many are left. A cancelled step can be taken again. */
  Result<std::int32_t> step(Session& session) {
    std::int32_t remaining = 0;
    return detail::call(
        [&](ditq_error* error) {
          const ditq_status status = ditq_run_step(get(), session.get(), &remaining, error);
          return hook_ ? hook_->after(status) : status; /* a moved-from run has none */
        },
        [&] { return remaining; });
  }
  /* The latents as they are, [count, channels, height, width]. */
  Result<void> latents(Span<float> latents) const {
    return detail::call([&](ditq_error* error) { return ditq_run_latents(get(), latents.data(), nullptr, latents.size_bytes(), error); });
  }
  /* The model's present guess of the finished ones; zeros before the first step. */
  Result<void> guess(Span<float> latents) const {
    return detail::call([&](ditq_error* error) { return ditq_run_latents(get(), nullptr, latents.data(), latents.size_bytes(), error); });
  }
  Result<std::vector<std::uint8_t>> save() const {
    return detail::filled<std::vector<std::uint8_t>>([&](void* buffer, std::size_t capacity, std::size_t* needed, ditq_error* error) {
      return ditq_run_save(get(), buffer, capacity, needed, error);
    });
  }

 private:
  Run(ditq_run* run, std::unique_ptr<detail::Hook> hook) : Handle(run), hook_(std::move(hook)) {}
  std::unique_ptr<detail::Hook> hook_; /* the library calls it in each step */
};

/* ---- The GEMM by itself ------------------------------------------------------------------------------------------------- */

/* A weight matrix quantized and packed for this CPU. Immutable and shareable, like a model. */
class Linear : public detail::Handle<ditq_linear, ditq_linear_destroy> {
 public:
  /* weights [outputs, inputs], row-major; bias [outputs], or empty. */
  static Result<Linear> create(Span<const float> weights, Span<const float> bias, std::int32_t outputs, std::int32_t inputs,
                               const LinearOptions& options = {}) {
    ditq_linear* linear = nullptr;
    const auto rows = static_cast<std::size_t>(outputs), columns = static_cast<std::size_t>(inputs);
    return detail::call(
        [&](ditq_error* error) {
          if (const auto status = detail::expect("weights", weights.size(), rows * columns, error)) return status;
          if (const auto status = detail::expect("bias", bias.size(), bias.size() ? rows : 0, error)) return status;
          return ditq_linear_create(weights.data(), bias.data(), outputs, inputs, &options, &linear, error);
        },
        [&] { return Linear(linear, rows, columns); });
  }
  /* x [rows, inputs] → y [rows, outputs]; threads as for a session. */
  Result<void> apply(Span<const float> x, Span<float> y, std::int32_t threads = 0) const {
    return detail::call([&](ditq_error* error) {
      const std::size_t rows = x.size() / inputs_;
      if (const auto status = detail::expect("x", x.size(), rows * inputs_, error)) return status;
      if (const auto status = detail::expect("y", y.size(), rows * outputs_, error)) return status;
      return ditq_linear_apply(get(), x.data(), rows, y.data(), threads, error);
    });
  }

 private:
  Linear(ditq_linear* linear, std::size_t outputs, std::size_t inputs) : Handle(linear), outputs_(outputs), inputs_(inputs) {}
  std::size_t outputs_, inputs_;
};

/* "1.0.0", of the library that is loaded. */
inline std::string version() { return ditq_version(); }

} /* inline namespace throwing or returning */
} /* namespace ditq */

#endif /* DITQ_HPP */
