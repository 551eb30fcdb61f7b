/*
 * ditq.hpp from the outside: test_ditq FLOAT_MODEL QUANTIZED_MODEL FOLDER. Compiled with and without exceptions: must() takes the value of a
 * call in both, failure() its error. Prints a line for each part, and the first check that fails, with status 1.
 */
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "ditq.hpp"

#define CHECK(condition) ((condition) ? void() : (std::printf("FAILED  line %d: %s\n", __LINE__, #condition), std::exit(1)))

#ifdef DITQ_NO_EXCEPTIONS
template <class T>
T must(ditq::Result<T> result) {
  if (!result) std::printf("%s\n", result.error().what());
  return std::move(result).value();
}
void must(ditq::Result<void> result) {
  if (!result) std::printf("%s\n", result.error().what()), std::abort();
}
template <class Call>
ditq::Error failure(Call call) { return call().error(); }
#define MUST(call) must(call)
#else
#define MUST(call) call
template <class Call>
ditq::Error failure(Call call) {
  try {
    (void)call();
  } catch (const ditq::Error& error) {
    return error;
  }
  return {DITQ_OK, ""};
}
#endif

static_assert(!std::is_copy_constructible_v<ditq::Model> && std::is_nothrow_move_constructible_v<ditq::Model>);
static_assert(!std::is_copy_assignable_v<ditq::Session> && std::is_move_assignable_v<ditq::Session>);
static_assert(std::is_nothrow_copy_constructible_v<ditq::Error> && std::is_base_of_v<std::exception, ditq::Error>);

/* Bytes that are gone before the model is used are not taken. */
template <class Bytes, class = void>
struct opens : std::false_type {};
template <class Bytes>
struct opens<Bytes, std::void_t<decltype(ditq::Model::open_memory(std::declval<Bytes>()))>> : std::true_type {};
static_assert(opens<std::vector<std::uint8_t>&>::value && !opens<std::vector<std::uint8_t>>::value);

static bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

static std::vector<std::uint8_t> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

static void models(const std::string& path) {
#ifdef DITQ_NO_EXCEPTIONS
  const auto result = ditq::Model::open(path);
  CHECK(result && must(result->describe()).class_count == 128 && must((*result).json()).front() == '{');
#endif
  const auto model = MUST(ditq::Model::open(path));
  const auto info = MUST(model.describe());
  CHECK(info.image_height == 32 && info.class_count == 128);
  CHECK(MUST(model.find_class("RED APPLE")) == 0 && model.class_name(0) == "red apple" && !model.class_name(-1));
  const auto json = MUST(model.json());
  CHECK(json.front() == '{' && json.back() == '}' && contains(json, "\"class_names\""));
  MUST(model.verify());
  const auto bytes = contents(path);
  CHECK(MUST(MUST(ditq::Model::open_memory(bytes)).describe()).parameter_count == info.parameter_count);
  ditq_reader reader = {sizeof reader, 0, const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(bytes.data())), bytes.size(), nullptr};
  reader.read = [](void* context, std::uint64_t offset, void* buffer, std::size_t count) -> std::int32_t {
    std::memcpy(buffer, static_cast<const std::uint8_t*>(context) + offset, count);
    return 0;
  };
  CHECK(MUST(MUST(ditq::Model::open_reader(reader)).describe()).parameter_count == info.parameter_count);
  const auto missing = failure([&] { return ditq::Model::open(path + ".no"); });
  CHECK(missing.status() == DITQ_NOT_FOUND && contains(missing.what(), ".no") && std::string(missing.status_name()) == "DITQ_NOT_FOUND");
  ditq::ModelOptions options;
  options.expected_sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
  CHECK(failure([&] { return ditq::Model::open(path, options); }).status() == DITQ_CHECKSUM_MISMATCH);
  CHECK(failure([&] { return model.find_class("redd apple"); }).status() == DITQ_NOT_FOUND);
}

static void pictures(const ditq::Model& model, const std::string& folder) {
  auto session = MUST(ditq::Session::create(model));
  ditq::GenerateOptions options;
  CHECK(options.steps == 50 && options.guidance_scale == 4);
  options.steps = 3;
  const auto image = MUST(session.generate(0, 7, options));
  CHECK(image.width == 32 && image.height == 32 && image.channels == 3 && image.pixels.size() == session.image_size());
  const ditq::Texts texts = {{"Class", "red apple"}};
  for (const ditq::Texts& cut : {ditq::Texts{{std::string("Cl\0ass", 6), "x"}}, ditq::Texts{{"Class", std::string("red\0apple", 9)}}}) {
    const ditq::Error error = failure([&] { return image.save(folder + "/cut.png", cut); });
    CHECK(error.status() == DITQ_INVALID_ARGUMENT && contains(error.what(), "NUL") && contents(folder + "/cut.png").empty());
    CHECK(failure([&] { return image.png(cut); }).status() == DITQ_INVALID_ARGUMENT);
  }
  CHECK(failure([&] { return image.save(folder + std::string("/cut.png\0.txt", 13)); }).status() == DITQ_INVALID_ARGUMENT);
  CHECK(contents(folder + "/cut.png").empty());
  MUST(image.save(folder + "/apple.png", texts));
  CHECK(contents(folder + "/apple.png") == MUST(image.png(texts)));

  const std::int32_t labels[] = {5, 0};
  const std::array<std::uint64_t, 2> seeds = {9, 7};
  std::vector<std::uint8_t> pixels(2 * session.image_size()), decoded(pixels.size());
  MUST(session.generate(labels, seeds, pixels, options));
  CHECK(std::equal(image.pixels.begin(), image.pixels.end(), pixels.begin() + static_cast<std::ptrdiff_t>(session.image_size())));
  std::vector<float> latents(2 * session.latent_size()), values(2 * session.image_size()), output(4 * session.latent_size());
  MUST(session.denoise(labels, seeds, latents, options));
  MUST(session.decode(latents, decoded));
  CHECK(decoded == pixels);
  MUST(session.decode(latents, values));
  MUST(session.predict(latents, std::vector<float>{500, 20}, labels, output));
  CHECK(contains(MUST(session.json()), "\"threads\"") && MUST(ditq::Session::memory(model)) > 0);

  pixels.pop_back();
  const auto small = failure([&] { return session.generate(labels, seeds, pixels, options); });
  CHECK(small.status() == DITQ_INVALID_ARGUMENT && std::string(small.what()) == "output: 6144 elements expected, 6143 found");
  CHECK(failure([&] { return session.generate(-3, 7, options); }).status() == DITQ_INVALID_ARGUMENT);
  ditq::Session moved = std::move(session);
  CHECK(!session.get() && MUST(moved.generate(0, 7, options)).pixels == image.pixels);
}

static void progress(const ditq::Model& model) {
  auto session = MUST(ditq::Session::create(model));
  ditq::GenerateOptions options;
  options.steps = 4;
  std::int64_t last = 0;
  options.on_progress = [&](const ditq_progress& progress) { return last = progress.done, true; };
  (void)MUST(session.generate(0, 7, options));
  CHECK(last > 0);
  options.on_progress = [](const ditq_progress&) { return false; };
  CHECK(failure([&] { return session.generate(0, 7, options); }).status() == DITQ_CANCELLED);
  options.on_progress = [&](const ditq_progress&) { return session.cancel(), true; };
  CHECK(failure([&] { return session.generate(0, 7, options); }).status() == DITQ_CANCELLED);
#ifndef DITQ_NO_EXCEPTIONS
  options.on_progress = [](const ditq_progress&) -> bool { throw std::runtime_error("enough"); };
  try {
    (void)session.generate(0, 7, options);
    CHECK(false);
  } catch (const std::runtime_error& error) {
    CHECK(std::string(error.what()) == "enough");
  }
#endif
}

static void runs(const ditq::Model& model) {
  auto session = MUST(ditq::Session::create(model));
  ditq::GenerateOptions options;
  options.steps = 3;
  int told = 0;
  options.on_progress = [&](const ditq_progress&) { return ++told, true; };
  const std::vector<std::int32_t> labels = {3};
  const std::vector<std::uint64_t> seeds = {11};
  auto run = MUST(ditq::Run::create(model, labels, seeds, options));
  CHECK(MUST(run.step(session)) == 2 && told > 0);
  auto resumed = MUST(ditq::Run::restore(model, MUST(run.save())));
  while (MUST(resumed.step(session)) > 0) {
  }
  std::vector<float> stepped(session.latent_size()), whole(session.latent_size());
  MUST(resumed.latents(stepped));
  MUST(session.denoise(labels, seeds, whole, options));
  CHECK(stepped == whole);
  MUST(resumed.guess(stepped));
  CHECK(failure([&] { return resumed.step(session); }).status() == DITQ_INVALID_ARGUMENT);
  const ditq::Run moved = std::move(resumed);
  CHECK(failure([&] { return resumed.step(session); }).status() == DITQ_INVALID_ARGUMENT);
}

static void quantizing(const std::string& path, const std::string& folder) {
  const auto source = MUST(ditq::Model::open(path));
  ditq::QuantizeOptions options;
  options.weight_bits = 4, options.weight_method = DITQ_WEIGHT_ROUND;
  options.layer_rules = {{"blocks.0.*", 8}, {"blocks.1.mlp.fc2", DITQ_KEEP_FLOAT}};
  const auto quantized = MUST(source.quantize(options));
  CHECK(MUST(quantized.describe()).weight_bits == 4);
  MUST(quantized.save(folder + "/w4.ditq"));
  ditq::CompareOptions compare;
  compare.steps = 2, compare.samples = 1;
  const auto report = MUST(ditq::Report::compare(source, MUST(ditq::Model::open(folder + "/w4.ditq")), compare));
  CHECK(report.sqnr_db() > 10 && report.sqnr_db(0) > 10 && contains(report.json(), "\"layers\"") && contains(report.csv(), "blocks.0.mlp.fc2"));
}

static void linear() {
  const std::vector<float> weights(8 * 32, 0.5F), x(3 * 32, 2.0F), bias(8, 1.0F);
  ditq::LinearOptions options;
  options.weight_bits = DITQ_KEEP_FLOAT;
  const auto linear = MUST(ditq::Linear::create(weights, bias, 8, 32, options));
  std::vector<float> y(3 * 8);
  MUST(linear.apply(x, y));
  CHECK(y == std::vector<float>(3 * 8, 33.0F));
  CHECK(contains(failure([&] { return ditq::Linear::create(weights, {}, 8, 31); }).what(), "weights: 248 elements expected, 256 found"));
  y.pop_back();
  CHECK(contains(failure([&] { return linear.apply(x, y); }).what(), "y: 24 elements expected, 23 found"));
}

static void threads(const ditq::Model& model) {
  std::vector<ditq::Image> images(4);
  std::vector<std::thread> pool;
  ditq::GenerateOptions options;
  options.steps = 2;
  for (auto& image : images)
    pool.emplace_back([&] {
      ditq::SessionOptions one;
      one.threads = 1;
      auto session = MUST(ditq::Session::create(model, one));
      image = MUST(session.generate(0, 7, options));
    });
  for (auto& thread : pool) thread.join();
  for (const auto& image : images) CHECK(image.pixels == images[0].pixels && !image.pixels.empty());
}

int main(int argc, char** argv) {
  CHECK(argc == 4 && ditq::version() == ditq_version());
  const auto model = MUST(ditq::Model::open(argv[2]));
  models(argv[2]), std::puts("ok  models");
  pictures(model, argv[3]), std::puts("ok  pictures");
  progress(model), std::puts("ok  progress");
  runs(model), std::puts("ok  runs");
  quantizing(argv[1], argv[3]), std::puts("ok  quantizing");
  linear(), std::puts("ok  linear");
  threads(model), std::puts("ok  threads");
  return 0;
}
