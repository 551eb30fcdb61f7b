# find_package(ditq): the imported targets ditq::ditq, the shared library, and ditq::static where libpng is found, which is linked into the
# program. They are beside this file (PREFIX/lib/cmake/ditq).
get_filename_component(ditq_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
if(NOT TARGET ditq::ditq)
  add_library(ditq::ditq SHARED IMPORTED)
  set_target_properties(ditq::ditq PROPERTIES
    IMPORTED_LOCATION "${ditq_prefix}/lib/libditq.so.1"
    IMPORTED_SONAME libditq.so.1
    INTERFACE_INCLUDE_DIRECTORIES "${ditq_prefix}/include")
endif()
find_package(PNG QUIET)
find_package(Threads QUIET)
if(NOT TARGET ditq::static AND TARGET PNG::PNG AND TARGET Threads::Threads)
  add_library(ditq::static STATIC IMPORTED)
  set_target_properties(ditq::static PROPERTIES
    IMPORTED_LOCATION "${ditq_prefix}/lib/libditq.a"
    INTERFACE_INCLUDE_DIRECTORIES "${ditq_prefix}/include"
    INTERFACE_LINK_LIBRARIES "PNG::PNG;Threads::Threads;m")
endif()
unset(ditq_prefix)
