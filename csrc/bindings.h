// SPDX-License-Identifier: Apache-2.0
// How an operator's functions and structs enter a Python module, by name: no list names the operators, and no call
// relies on the order of arguments.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/dtype.h"

/// A View is a pair in Python.
template <>
struct pybind11::detail::type_caster<asl::View> {
    PYBIND11_TYPE_CASTER(asl::View, const_name("tuple[int, int]"));
    bool load(handle source, bool convert) {
        make_caster<std::pair<std::uintptr_t, int>> pair;
        if (!pair.load(source, convert)) return false;
        const auto found = cast_op<std::pair<std::uintptr_t, int>>(pair);
        value = {found.first, found.second};
        return true;
    }
};

namespace asl {

using Bind = void (*)(pybind11::module_&);

/// The functions that bind the operators of this module; each module has its own list.
std::vector<Bind>& bindings();

/// A file that binds an operator holds one: `const Binding binding([](py::module_& m) { m.def(...); });`
struct Binding {
    explicit Binding(Bind bind) { bindings().push_back(bind); }
};

inline void bind_all(pybind11::module_& m) {
    for (const Bind bind : bindings()) bind(m);
}

template <class Struct, class Type>
struct Field {
    const char* name;
    Type Struct::* place;
    PyObject* key;  // the name as Python looks it up, made once and kept for good
};

template <class Struct, class Type>
Field<Struct, Type> field(const char* name, Type Struct::* place) {
    return {name, place, PyUnicode_InternFromString(name)};
}

/// A value of Python as a field holds it; an enumeration is a number there.
template <class Type>
Type from_python(pybind11::handle value) {
    if constexpr (std::is_enum_v<Type>)
        return static_cast<Type>(value.cast<std::underlying_type_t<Type>>());
    else
        return value.cast<Type>();
}

/// A struct that Python makes from keyword arguments, each field given exactly once.
template <class Struct, class... Types>
void bind_struct(pybind11::module_& m, const char* name, const char* doc, Field<Struct, Types>... fields) {
    // Local: the tests load the CUDA bindings twice, as the module itself and over the stand-in for a GPU.
    pybind11::class_<Struct>(m, name, pybind11::module_local(), doc)
        .def(pybind11::init([name = std::string(name), fields...](const pybind11::kwargs& given) {
            Struct made{};
            const auto set = [&](auto one) {
                const pybind11::handle value = PyDict_GetItemWithError(given.ptr(), one.key);
                if (!value) throw pybind11::type_error(name + " lacks " + one.name);
                using Type = std::decay_t<decltype(made.*(one.place))>;
                made.*(one.place) = from_python<Type>(value);
            };
            (set(fields), ...);
            if (given.size() != sizeof...(fields)) throw pybind11::type_error(name + " has no such field");
            return made;
        }));
}

}  // namespace asl
